import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fullIsDue, isDue } from '../../../src/jobs/run/rhythm.ts'
import { isOpen, nextEnd } from '../../../src/jobs/run/window.ts'
import { isCron, nextTimes } from '../../../src/jobs/schedule.ts'
import { needs } from '../../support/tools.ts'

const at = (text: string) => new Date(text).getTime()
const HOUR = 3_600_000

describe('a window', () => {
  const night = { from: 22 * 60, to: 6 * 60 }

  test('over midnight is open on both sides of it', () => {
    const open = (text: string) => isOpen(night, at(text))
    assert.deepEqual(
      ['2026-11-29T21:59', '2026-11-29T22:00', '2026-11-30T00:00', '2026-11-30T05:59', '2026-11-30T06:00'].map(open),
      [false, true, true, true, false],
    )
  })

  test('ends at the time that clocks on the wall show, also in nights of seven and of nine hours', () => {
    // The zone of a process is that of its start.
    const lengths = (date: string) => {
      const script = `import { nextEnd, nextBegin } from ${JSON.stringify(join(import.meta.dirname, '../../../src/jobs/run/window.ts'))}
        const window = { from: 22 * 60, to: 6 * 60 }
        const begin = nextBegin(window, new Date('${date}T12:00:00').getTime())
        console.log((nextEnd(window, begin) - begin) / 3600000)`
      const env = { ...process.env, TZ: 'Europe/Berlin' }
      return Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { env, encoding: 'utf8' }))
    }
    assert.deepEqual([lengths('2026-03-28'), lengths('2026-07-01'), lengths('2026-10-24')], [7, 8, 9])
  })

  test('that ends now ends the next time tomorrow', () => {
    assert.equal(nextEnd(night, at('2026-11-29T06:00:00')), at('2026-11-30T06:00:00'))
  })
})

describe('a full archive is due', () => {
  const chain = (began: string, archives = 2) => ({ began: at(began), archives })
  const week = { kind: 'calendar', unit: 'week' } as const

  test('in a new week, which begins on Monday', () => {
    assert.equal(fullIsDue(week, chain('2026-11-23T01:30:00'), at('2026-11-29T23:00:00')), null)
    assert.match(fullIsDue(week, chain('2026-11-29T01:30:00'), at('2026-11-30T01:30:00'))!, /none of this week/)
  })

  test('after a number of archives, or of days; some minutes too early are early enough', () => {
    assert.equal(fullIsDue({ kind: 'count', every: 7 }, chain('2026-11-01', 6), at('2026-11-29')), null)
    assert.match(fullIsDue({ kind: 'count', every: 7 }, chain('2026-11-01', 7), at('2026-11-29'))!, /one of 7 is/)
    const days = { kind: 'time', milliseconds: 14 * 24 * HOUR } as const
    assert.equal(fullIsDue(days, chain('2026-11-01T01:30:00'), at('2026-11-14T01:30:00')), null)
    assert.notEqual(fullIsDue(days, chain('2026-11-01T01:30:00'), at('2026-11-15T01:20:00')), null)
  })

  test('if the clock was set back behind the last one', () => {
    assert.match(fullIsDue(week, chain('2027-01-01'), at('2026-11-29'))!, /of the future/)
  })

  test('never, or always, if the job says so', () => {
    assert.equal(fullIsDue({ kind: 'never' }, chain('2020-01-01', 999), at('2026-11-29')), null)
    assert.notEqual(fullIsDue(undefined, chain('2026-11-29'), at('2026-11-29')), null)
    assert.equal(isDue({ kind: 'never' }, null, 0), false)
    assert.equal(isDue(week, null, 0), true)
  })
})

describe('a schedule', () => {
  test('is an expression of cron, or an event of systemd', () => {
    assert.deepEqual(
      ['30 1 * * 1-6', '@daily', 'Mon..Sat 01:30', '*-*-* 04:00:00', 'daily', '*/15 * * * *'].map(isCron),
      [true, true, false, false, false, true],
    )
  })

  test('of cron tells its next times', async () => {
    const times = await nextTimes(['30 1 * * 1-6'], at('2026-11-28T12:00:00'), 2)
    assert.deepEqual(times, [at('2026-11-30T01:30:00'), at('2026-12-01T01:30:00')])
  })

  test('of systemd tells them too, and several are merged', needs('systemd-analyze'), async () => {
    const now = at('2026-11-28T12:00:00')
    assert.deepEqual(await nextTimes(['Mon..Sat 01:30'], now, 2), [
      at('2026-11-30T01:30:00'),
      at('2026-12-01T01:30:00'),
    ])
    assert.deepEqual(await nextTimes(['Mon 01:30', '0 3 * * *'], now, 3), [
      at('2026-11-29T03:00:00'),
      at('2026-11-30T01:30:00'),
      at('2026-11-30T03:00:00'),
    ])
  })

  test('that is none is told', needs('systemd-analyze'), async () => {
    await assert.rejects(nextTimes(['Mon..Sat 25:30'], 0, 1), {
      code: 'CONFIG',
      message: /^'Mon\.\.Sat 25:30' is no schedule: /,
    })
    await assert.rejects(nextTimes(['61 1 * * *'], 0, 1), { code: 'CONFIG' })
  })
})
