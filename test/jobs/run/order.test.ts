import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { madeUpBackups, TestClock } from './made-up.ts'
import { entries, nightly } from './nightly.ts'

const limits = { timeout: 60_000 }
const failed = new VmapipeError('FAILED', 'the network is gone')

describe('the order of a night', () => {
  test(
    'as many guests run at once as the limit says, and those come first that have been without a backup the longest',
    limits,
    async (t) => {
      const names = ['a', 'b', 'c', 'd', 'e']
      const night = nightly(t, names)
      const job = night.job(`guests:\n${entries(night, names)}to: ${night.dir}/place\nlimits: { parallel: 2 }\n`)
      const clock = new TestClock('2026-11-29T01:30:00')
      const first = madeUpBackups(clock, (guest) => (guest === 'c' ? { error: failed, minutes: 3 } : { minutes: 10 }))
      const report = await night.run(job, { clock, start: first.start }).run()
      assert.equal(first.most(), 2)
      assert.deepEqual(
        [report.outcome, report.guests.map(({ outcome }) => outcome)],
        ['some', ['done', 'done', 'failed', 'done', 'done']],
      )
      const second = madeUpBackups(clock, () => ({ minutes: 1 }))
      await night.run(job, { clock, start: second.start }).run()
      assert.equal(second.log[0].guest, 'c')
    },
  )

  test('a guest that fails is tried again later, while others go on', limits, async (t) => {
    const night = nightly(t, ['a', 'b'])
    const job = night.job(
      `guests:\n${entries(night, ['a', 'b'])}to: ${night.dir}/place\nlimits: { parallel: 1 }\nretry: { count: 2, delay: 10m }\n`,
    )
    const clock = new TestClock('2026-11-29T01:30:00')
    const made = madeUpBackups(clock, (guest, attempt) =>
      guest === 'a' && attempt < 3 ? { error: failed } : { minutes: 4 },
    )
    const report = await night.run(job, { clock, start: made.start }).run()
    assert.deepEqual(
      made.log.map(({ guest }) => guest),
      ['a', 'b', 'a', 'a'],
    )
    assert.deepEqual(
      report.guests.map(({ outcome, attempts }) => [outcome, attempts]),
      [
        ['done', 3],
        ['done', 1],
      ],
    )
    assert.ok(made.log[3].began - made.log[2].ended! >= 600_000)
  })

  test('a guest is not tried again for an error that stays, nor more often than is said', limits, async (t) => {
    const night = nightly(t, ['a', 'b'])
    const job = night.job(
      `guests:\n${entries(night, ['a', 'b'])}to: ${night.dir}/place\nretry: { count: 1, delay: 1m }\n`,
    )
    const clock = new TestClock('2026-11-29T01:30:00')
    const made = madeUpBackups(clock, (guest) => ({
      error: guest === 'a' ? new VmapipeError('USAGE', 'no such drive', { hint: 'look' }) : failed,
    }))
    const report = await night.run(job, { clock, start: made.start }).run()
    assert.deepEqual(
      report.guests.map(({ outcome, attempts, reason, hint, code }) => [outcome, attempts, reason, hint, code]),
      [
        ['failed', 1, 'no such drive', 'look', 'USAGE'],
        ['failed', 2, 'the network is gone', undefined, 'FAILED'],
      ],
    )
    assert.equal(report.outcome, 'none')
  })

  test('guests are begun within the window, which also goes over midnight', limits, async (t) => {
    const night = nightly(t, ['a', 'b', 'c'])
    const job = night.job(
      `guests:\n${entries(night, ['a', 'b', 'c'])}to: ${night.dir}/place\nlimits: { parallel: 1, window: "22:00-02:00" }\n`,
    )
    const clock = new TestClock('2026-11-29T21:00:00')
    const made = madeUpBackups(clock, () => ({ minutes: 150 }))
    const report = await night.run(job, { clock, start: made.start }).run()
    assert.equal(made.log[0].began, new Date('2026-11-29T22:00:00').getTime())
    // The second one is begun at half past midnight and finished after the window; the third is not begun.
    assert.deepEqual(
      report.guests.map(({ outcome }) => outcome),
      ['done', 'done', 'skipped'],
    )
    assert.match(report.guests[2].reason!, /^the window has ended before its turn$/)
    assert.equal(report.outcome, 'some')
  })

  test("at the window's end running backups are stopped, or slowed, if the job says so", limits, async (t) => {
    const night = nightly(t, ['a', 'b'])
    const guests = `guests:\n${entries(night, ['a', 'b'])}to: ${night.dir}/place\n`
    const stopping = night.job(`${guests}limits: { window: "22:00-23:00", at-end: stop }\n`)
    const clock = new TestClock('2026-11-29T22:30:00')
    const stopped = madeUpBackups(clock, (guest) => ({ minutes: guest === 'a' ? 10 : 60 }))
    const report = await night.run(stopping, { clock, start: stopped.start }).run()
    assert.deepEqual(
      report.guests.map(({ outcome, reason }) => [outcome, reason]),
      [
        ['done', undefined],
        ['canceled', 'the window has ended'],
      ],
    )
    const b = stopped.log.find(({ guest }) => guest === 'b')!
    assert.equal(b.ended, new Date('2026-11-29T23:00:00').getTime())
    const slowing = night.job(`${guests}limits: { window: "22:00-23:00", at-end: slow, slow-rate: 4MiB }\n`)
    const later = new TestClock('2026-11-29T22:30:00')
    const slowed = madeUpBackups(later, () => ({ minutes: 60 }))
    assert.equal((await night.run(slowing, { clock: later, start: slowed.start }).run()).outcome, 'all')
    assert.ok(
      slowed.log.every(({ rates }) => rates.includes(2 << 20)),
      JSON.stringify(slowed.log),
    )
  })

  test(
    'the rate of a run is divided among the guests that run, and can be changed while it goes on',
    limits,
    async (t) => {
      const night = nightly(t, ['a', 'b'])
      const job = night.job(`guests:\n${entries(night, ['a', 'b'])}to: ${night.dir}/place\nlimits: { rate: 8MiB }\n`)
      const clock = new TestClock('2026-11-29T01:30:00')
      const made = madeUpBackups(clock, (guest) => ({ minutes: guest === 'a' ? 10 : 20 }))
      const run = night.run(job, {
        clock,
        start: made.start,
        onEvent: (event) => {
          if (event.type === 'guest' && event.progress.phase === 'done' && event.progress.guest === 'a')
            run.rate = 2 << 20
        },
      })
      await run.run()
      const { rates } = made.log.find(({ guest }) => guest === 'b')!
      assert.ok(rates.includes(4 << 20), 'half of it while both run')
      assert.equal(rates.at(-1), 2 << 20)
    },
  )
})
