import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { ended, HOST, hosted, runOn, until } from './hosted.ts'

const timeout = 180_000

/** Puts a `virsh` in front of any other on the PATH, for this test. */
function fakeVirsh(t: TestContext, dir: string, script: string): void {
  const programs = join(dir, 'bin')
  mkdirSync(programs)
  writeFileSync(join(programs, 'virsh'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  const { PATH } = process.env
  process.env.PATH = `${programs}:${PATH}`
  t.after(() => {
    process.env.PATH = PATH
  })
}

describe('what the page of a host does', () => {
  test('a job is started, its archives are verified, protected, noted, pruned and restored', { timeout }, async (t) => {
    const host = hosted(t)
    const disk = host.disk('web')
    host.job('nightly', { web: disk, db: host.disk('db') }, 'schedule: "30 1 * * *"\ndescription: each night\n')
    const restored = join(host.dir, 'restored')
    const house = await host.open(t, { restoreTo: [host.dir] })
    const before = await house.guests()
    assert.deepEqual(
      before.filter(({ jobs }) => jobs.length > 0).map(({ guest, state, lastGood }) => [guest, state, lastGood]),
      [
        ['db', 'overdue', null],
        ['web', 'overdue', null],
      ],
    )
    const report = await runOn(house, 'nightly')
    assert.equal(report.outcome, 'all')
    const [job] = await house.jobs()
    assert.deepEqual(
      [job.job, job.description, job.guests, job.last?.run, job.next.length, job.promise],
      ['nightly', 'each night', ['web', 'db'], report.run, 10, 129_600],
    )
    assert.deepEqual(
      (await house.runs({ since: '2020-01-01T00:00:00Z' })).map(({ run, done, failed }) => [run, done, failed]),
      [[report.run, 2, 0]],
    )
    const since = '2020-01-01T00:00:00Z'
    const [{ longest, stored, ...day }] = await house.runDays({ job: 'nightly', since, zone: 'UTC' })
    const sums = { runs: 1, whole: 1, worst: 'all', done: 2, failed: 0 }
    assert.deepEqual(day, { ...sums, day: report.started.slice(0, 10) })
    assert.equal(
      stored,
      report.guests.reduce((all, guest) => all + guest.stored!, 0),
    )
    assert.ok(stored > 0 && longest > 0)
    assert.deepEqual(await house.runs({ since, until: report.started }), [])
    assert.deepEqual(await house.runDays({ job: 'other', since, zone: 'UTC' }), [])
    const archives = await until(async () => {
      const all = await house.archives({})
      return all.length === 2 && all
    }, 'both archives')
    const web = archives.find(({ guest }) => guest === 'web')!
    const rows = await until(async () => {
      const all = (await house.guests()).filter(({ jobs }) => jobs.length > 0)
      return all.every(({ state }) => state === 'good') && all
    }, 'good guests')
    assert.ok(rows.every(({ trend }) => trend.length === 1 && trend[0].stored > 0))
    assert.deepEqual((await house.content(HOST, web.id)).drives, [{ name: 'drive-scsi0', size: 2 << 20 }])

    const verify = { do: 'verify', host: HOST, archive: web.id } as const
    const [first, second] = await Promise.allSettled([house.act(verify, 'ann'), house.act(verify, 'bob')])
    assert.ok(first.status === 'fulfilled' && second.status === 'rejected', 'nothing is verified twice at once')
    assert.match(second.reason.message, /^ann has begun the same already: verify of 'web-/)
    const verified = await ended(house, first.value)
    assert.deepEqual([verified.state, verified.by, verified.percent], ['done', 'ann', 100], verified.lines.join('\n'))
    assert.match(verified.lines[0], /^\$ vmapipe verify --record -- /)

    await house.act({ do: 'protect', host: HOST, archive: web.id, on: true }, 'ann')
    await house.act({ do: 'note', host: HOST, archive: web.id, text: '--remove <b>&\n$(id)' }, 'ann')
    const noted = (await house.archives({ guest: 'web' }))[0]
    assert.deepEqual([noted.protected, noted.notes], [true, '--remove <b>&\n$(id)'])
    assert.equal(noted.checks[0].kind, 'verify')
    await house.act({ do: 'protect', host: HOST, archive: web.id, on: false }, 'ann')
    const late = house.act({ do: 'note', host: HOST, archive: web.id, text: "bob's", was: '' }, 'bob')
    await assert.rejects(late, { code: 'USAGE', message: /somebody has changed the note/ })
    assert.equal((await house.archives({ guest: 'web' }))[0].notes, '--remove <b>&\n$(id)')
    await house.act({ do: 'note', host: HOST, archive: web.id, text: '', was: noted.notes! }, 'ann')
    const plain = (await house.archives({ guest: 'web' }))[0]
    assert.deepEqual([plain.protected, plain.notes], [false, null])

    const form = { host: HOST, archive: web.id, drives: { 'drive-scsi0': restored } }
    const task = await ended(house, await house.act({ do: 'restore', form }, 'ann'))
    assert.equal(task.state, 'done', task.lines.join('\n'))
    assert.deepEqual(readFileSync(restored), readFileSync(disk))
    await assert.rejects(house.act({ do: 'restore', form }, 'ann'), { code: 'USAGE', message: /there already/ })

    await assert.rejects(house.prunePlan(HOST, 'nightly'), { code: 'USAGE', message: /has keep/ })
    host.job('nightly', { web: disk }, '').toString()
    host.jobOf(
      'nightly',
      `  - { name: web, drives: { drive-scsi0: ${disk} } }\n`,
      `to: { place: ${host.place}, keep: { last: 1 } }\n`,
    )
    await runOn(house, 'nightly')
    // Retention of the run itself has removed the older one; another is made by hand.
    await host.cli('backup', '-d', `drive-scsi0=${disk}`, '--guest', 'web', '-o', join(host.place, 'web/later.vma'))
    const plan = await house.prunePlan(HOST, 'nightly', 'web')
    assert.deepEqual(plan.rows.map(({ stays }) => stays).sort(), [false, true])
    await assert.rejects(
      house.act({ do: 'prune', host: HOST, job: 'nightly', guest: 'web', token: `${plan.token}x` }, 'ann'),
      { code: 'USAGE', message: /have changed since the plan was shown/ },
    )
    await host.cli('backup', '-d', `drive-scsi0=${disk}`, '--guest', 'web', '-o', join(host.place, 'web/last.vma'))
    await assert.rejects(
      house.act({ do: 'prune', host: HOST, job: 'nightly', guest: 'web', token: plan.token }, 'ann'),
      { code: 'USAGE', message: /have changed/ },
    )
    const { token, rows: planned } = await house.prunePlan(HOST, 'nightly', 'web')
    const pruned = await ended(
      house,
      await house.act({ do: 'prune', host: HOST, job: 'nightly', guest: 'web', token }, 'ann'),
    )
    assert.equal(pruned.state, 'done', pruned.lines.join('\n'))
    for (const { place, stays } of planned) assert.equal(existsSync(place), stays, place)
  })

  test('of two who start a job at the same moment one is told that it runs already', { timeout }, async (t) => {
    const host = hosted(t)
    host.job('slow', { web: host.disk('web', 8 << 20), db: host.disk('db', 8 << 20) }, 'limits: { rate: 256KiB }\n')
    const house = await host.open(t)
    const start = (guest: string) => house.act({ do: 'start', host: HOST, job: 'slow', guests: [guest] }, guest)
    const both = await Promise.allSettled([start('web'), start('db')])
    const [run] = both.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const [refused] = both.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    assert.match(refused?.message ?? JSON.stringify(both), /running already/)
    const begun = both[0].status === 'fulfilled' ? 'web' : 'db'
    const row = await until(
      async () => (await house.now()).rows.find(({ guest }) => guest !== ''),
      'the guest of the run',
    )
    assert.deepEqual([row.guest, row.run], [begun, run], 'and the other one that its own guest is backed up')
    await house.act({ do: 'cancel', id: run! }, 'test')
    await until(() => house.report(HOST, 'slow', run!), 'the report')
  })

  test('a run that was begun elsewhere is seen with its stages, and canceled on the page', { timeout }, async (t) => {
    const host = hosted(t)
    const disks = { slow: host.disk('slow', 8 << 20), other: host.disk('other', 8 << 20) }
    host.job('slow', disks, 'limits: { rate: 256KiB }\n')
    const house = await host.open(t)
    const told: string[] = []
    t.after(house.watch((what) => told.push(what)))
    const child = host.startCli('job', 'run', 'slow', '--now', '-q')
    const closed = once(child, 'close')
    const row = await until(async () => {
      const { rows } = await house.now()
      return rows.find(({ guest, stats }) => guest === 'slow' && stats !== null)
    }, 'a row with stages')
    assert.deepEqual([row.job, row.host, row.phase, row.attempts, row.latency], ['slow', HOST, 'backup', 1, null])
    assert.ok(row.stats!.stages.length > 4)
    assert.ok(told.includes('now'))
    await assert.rejects(house.act({ do: 'start', host: HOST, job: 'slow' }, 'ann'), { message: /is running already/ })
    // One guest alone: the other goes on.
    await house.act({ do: 'cancel', id: row.id }, 'ann')
    await until(async () => {
      const { rows } = await house.now()
      return !rows.some(({ guest }) => guest === 'slow') && rows.some(({ guest }) => guest === 'other')
    }, 'the other guest alone')
    const began = performance.now()
    await house.act({ do: 'cancel', id: row.run }, 'ann')
    const [code] = await closed
    assert.equal(code, 130)
    assert.ok(performance.now() - began < 20_000)
    const report = await until(() => house.report(HOST, 'slow', row.run), 'its report')
    assert.deepEqual(
      report.guests.map(({ guest, outcome }) => [guest, outcome]),
      [
        ['slow', 'canceled'],
        ['other', 'canceled'],
      ],
    )
    await assert.rejects(house.act({ do: 'cancel', id: row.id }, 'ann'), { code: 'USAGE', message: /ended already/ })
    const { problems } = await house.now()
    assert.ok(
      problems.some((text) => text.startsWith('slow: the last run ended')),
      problems.join('\n'),
    )
  })

  test('a place that is gone is told, and what was done is not forgotten', { timeout }, async (t) => {
    const host = hosted(t)
    host.job('nightly', { web: host.disk('web') })
    const house = await host.open(t)
    await runOn(house, 'nightly')
    renameSync(host.place, `${host.place}.away`)
    const problems = await until(async () => {
      await house.act({ do: 'rescan' }, '')
      const view = await house.now()
      return view.problems.length > 0 && view.problems
    }, 'a problem')
    assert.deepEqual(problems, [`nightly: the folder '${host.place}' is not there any more: is its disk mounted?`])
    const [guest] = (await house.guests()).filter(({ jobs }) => jobs.length > 0)
    assert.ok(guest.lastGood !== null)
  })

  test('the jobs are shown although a hypervisor does not answer, and their guests once it does', {
    timeout,
  }, async (t) => {
    const host = hosted(t)
    const answers = join(host.dir, 'answers')
    fakeVirsh(t, host.dir, `while [ ! -e '${answers}' ]; do sleep 0.1; done\necho 'error: no connection' >&2\nexit 1`)
    host.jobOf('nightly', '  - { libvirt: shop, connect: "qemu:///session" }\n', `to: ${host.place}\n`)
    host.job('other', { web: host.disk('web') })
    const house = await host.open(t)
    const told: string[] = []
    t.after(house.watch((what) => told.push(what)))
    const guests = async () => (await house.jobs()).map(({ job, guests }) => [job, guests])
    assert.deepEqual(await guests(), [
      ['nightly', []],
      ['other', []],
    ])
    told.length = 0
    writeFileSync(answers, '')
    await until(async () => told.includes('jobs'), 'that jobs have changed')
    assert.deepEqual(await guests(), [
      ['nightly', []],
      ['other', ['web']],
    ])
    assert.match((await house.now()).problems.join('\n'), /nightly: .*no connection/)
  })

  test('a hypervisor that does not answer is not waited for any more when the page is closed', {
    timeout,
  }, async (t) => {
    const host = hosted(t)
    const asked = join(host.dir, 'asked')
    fakeVirsh(t, host.dir, `echo $$ >> '${asked}'\nwhile :; do sleep 0.1; done`)
    host.jobOf('nightly', '  - { libvirt: shop, connect: "qemu:///session" }\n', `to: ${host.place}\n`)
    const house = await host.open(t)
    // One looks for the guests of the job, one for those in no job.
    const pids = await until(async () => {
      const lines = existsSync(asked) ? readFileSync(asked, 'utf8').trim().split('\n') : []
      return lines.length >= 2 && lines.map(Number)
    }, 'that virsh is asked')
    await house.close()
    const closed = performance.now()
    const isThere = (pid: number) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`).length > 0
      } catch {
        return false
      }
    }
    await until(async () => !pids.some(isThere), 'that nobody asks it any more')
    // By itself virsh would be ended after 30 s.
    assert.ok(performance.now() - closed < 15_000)
  })

  test('a task is canceled, and what it wrote is gone', { timeout }, async (t) => {
    const host = hosted(t)
    const guests = ['big1', 'big2', 'big3', 'big4']
    host.job('big', Object.fromEntries(guests.map((guest) => [guest, host.disk(guest, 64 << 20)])))
    const house = await host.open(t, { restoreTo: [host.dir] })
    await runOn(house, 'big')
    const archives = await until(async () => {
      const all = await house.archives({})
      return all.length === guests.length && all
    }, 'the archives')
    const [archive] = archives
    const target = join(host.dir, 'half.raw')
    const form = { host: HOST, archive: archive.id, drives: { 'drive-scsi0': target } }
    const ids = await Promise.all(archives.map(({ id }) => house.act({ do: 'verify', host: HOST, archive: id }, 'ann')))
    const id = await house.act({ do: 'restore', form }, 'ann')
    const states = (await house.now()).tasks.map(({ state }) => state)
    assert.deepEqual(states, ['waiting', 'waiting', 'waiting', 'running', 'running'])
    // The one that runs first: it ends soon.
    await house.act({ do: 'cancel', id: ids[0]! }, 'ann')
    await house.act({ do: 'cancel', id: id! }, 'ann')
    assert.equal((await ended(house, id)).state, 'canceled')
    assert.equal((await ended(house, ids[0])).state, 'canceled')
    assert.equal((await ended(house, ids[3])).state, 'done')
    assert.equal(existsSync(target), false)
  })
})
