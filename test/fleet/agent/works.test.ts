import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { agentEvent } from '../../../src/fleet/messages/events.ts'
import { guestFolder } from '../../../src/jobs/guests/guest.ts'
import { backup } from '../../../src/operations/backup.ts'
import { fleetHost, run } from './host.ts'
import { until } from './made-planner.ts'

const limit = { timeout: 120_000 }
const due = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000
const nameOf = (time: number) => `web-${new Date(time).toISOString().replace(/\.\d+|:/g, '')}.vma.zst`

describe('an agent', () => {
  test('says hello, tells what the host has, and that it runs', limit, async (t) => {
    const host = await fleetHost(t, ['web', 'db'])
    host.jobFile('nightly', 'schedule: 30 1 * * *\npromise: 26h\nlimits: { parallel: 3, per-place: 2 }\n')
    writeFileSync(join(host.folder, 'broken.yaml'), 'guests: 7\n')
    const agent = await host.start({ labels: ['rack-2'], version: '9.9' })
    const { planner } = host
    const [inventory] = await until(
      () => planner.beats.length > 1 && planner.inventories.length > 0 && planner.inventories,
    )
    assert.equal(agent.host, 'host-1')
    const [{ labels, parallel, version, protocol }] = planner.hellos
    assert.deepEqual(
      { labels, parallel, version, protocol },
      { labels: ['rack-2'], parallel: 3, version: '9.9', protocol: 1 },
    )
    assert.deepEqual(
      inventory.guests.filter(({ jobs }) => jobs.length > 0).map(({ name, jobs, lastGood }) => [name, jobs, lastGood]),
      [
        ['web', ['nightly'], null],
        ['db', ['nightly'], null],
      ],
    )
    const [broken, nightly] = inventory.jobs
    assert.match(broken.problem!, /broken\.yaml:1:\d+: guests/)
    assert.deepEqual([nightly.promise, nightly.guests, nightly.central], [26 * 3600, ['web', 'db'], false])
    assert.deepEqual(nightly.places[0], { place: `${host.dir}/place`, storage: null, parallel: 2, keep: null })
    assert.equal(nightly.next.length, 10)
    assert.deepEqual(planner.beats.at(-1)!.running, [])
    // A job file that is changed is told by itself.
    host.jobFile('nightly', 'schedule: 30 2 * * *\n')
    await until(() => planner.inventories.at(-1)!.jobs[1].schedule[0] === '30 2 * * *')
  })

  test(
    'backs up the guest that it is given, with the time at which it was due, and tells its end and its archives',
    limit,
    async (t) => {
      const host = await fleetHost(t)
      const go = join(host.dir, 'go')
      host.jobFile('nightly', `hooks: { before: "until [ -e ${go} ]; do sleep 0.1; done" }\n`)
      host.planner.closer = true
      await host.start()
      host.planner.give(run('w1', due))
      // The first heartbeats may come before its job file is read.
      const beat = await until(() => host.planner.beats.find(({ running }) => running[0]?.places.length > 0))
      assert.deepEqual([beat.running[0].id, beat.running[0].places], ['w1', [`${host.dir}/place`]])
      writeFileSync(go, '')
      const [ended] = await until(() => host.planner.ended().length > 0 && host.planner.ended())
      assert.deepEqual(
        [ended.work, ended.outcome, ended.guest, ended.already, (ended.report as { kind: string }).kind],
        ['w1', 'done', 'web', undefined, 'full'],
      )
      assert.deepEqual(host.archives(), [nameOf(due)])
      const list = await until(() => host.planner.events.find(({ event }) => event === 'archives'))
      assert.equal(list.event === 'archives' && list.archives[0].name, nameOf(due))
      await until(() => host.planner.inventories.at(-1)!.guests.find(({ name }) => name === 'web')!.lastGood !== null)
    },
  )

  test('does a work that is delivered twice once, and one of the same time does nothing', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly', `hooks: { before: "echo x >> ${host.dir}/hooks" }\n`)
    await host.start()
    host.planner.give(run('w1', due), run('w1', due))
    await until(() => host.planner.ended().length === 1)
    // The planner has not heard its end: it is told again, with the same id.
    const [{ id }] = host.planner.ended()
    host.planner.give(run('w1', due))
    await until(() => host.planner.times.get(id) === 2)
    // It was given to another attempt, or another work.
    host.planner.give(run('w1', due, { attempt: 2 }), run('w2', due))
    await until(() => host.planner.ended().length === 3)
    assert.deepEqual(
      host.planner.ended().map(({ already }) => already),
      [undefined, true, true],
    )
    assert.deepEqual(host.archives(), [nameOf(due)])
    assert.equal(readFileSync(join(host.dir, 'hooks'), 'utf8'), 'x\n')
  })

  test('gives several guests of one job side by side, and their night is one report', limit, async (t) => {
    const guests = ['web', 'db', 'mail']
    const host = await fleetHost(t, guests)
    host.jobFile('nightly', 'hooks: { before: "sleep 1" }\nlimits: { parallel: 3 }\n')
    await host.start()
    host.planner.give(...guests.map((guest) => run(guest, due, { guest })))
    await until(() => host.planner.beats.some(({ running }) => running.length === 3))
    await until(() => host.planner.ended().length === 3)
    const file = join(
      host.state,
      'jobs/nightly/runs',
      `${new Date(due).toISOString().replace(/[-:]|\.\d+/g, '')}-due.json`,
    )
    const report = JSON.parse(readFileSync(file, 'utf8'))
    assert.deepEqual([report.outcome, report.guests.length], ['all', 3])
    await until(() => host.lines.some((line) => /3 of 3 guests that were due at/.test(line)))
  })

  test('ends a work that is canceled, or that the planner has given up, within seconds', limit, async (t) => {
    const host = await fleetHost(t, ['web', 'db'])
    host.jobFile('nightly', 'rate: 100KiB\nlimits: { parallel: 2 }\n')
    await host.start()
    host.planner.give(run('w1', due), run('w2', due, { guest: 'db' }))
    host.planner.closer = true
    await until(() =>
      host.planner.beats.some(
        ({ running }) => running.filter(({ progress }) => progress?.phase === 'backup').length === 2,
      ),
    )
    host.planner.give({ id: 'c1', attempt: 1, kind: 'cancel', work: 'w1', reason: 'somebody wanted it' })
    host.planner.stop.push('w2')
    await until(() => host.planner.ended().length === 2)
    const reasons = Object.fromEntries(
      host.planner.ended().map(({ work, outcome, report }) => [work, [outcome, report.reason]]),
    )
    assert.deepEqual(reasons, {
      w1: ['canceled', 'somebody wanted it'],
      w2: ['canceled', 'the planner has given it up'],
    })
    await until(() => host.planner.finished('c1')?.outcome === 'done')
    assert.deepEqual([host.archives(), host.archives('db')], [[], []])
  })

  test(
    'begins outside of the window what is wanted now; what is late for it waits for the planner',
    limit,
    async (t) => {
      const host = await fleetHost(t)
      const clock = (hours: number) => {
        const time = new Date(Date.now() + hours * 3_600_000)
        return `${String(time.getHours()).padStart(2, '0')}:${String(time.getMinutes()).padStart(2, '0')}`
      }
      host.jobFile(
        'nightly',
        `limits: { window: ${clock(10)}-${clock(11)} }
`,
      )
      await host.start()
      host.planner.give(run('late', due))
      const { outcome, text } = await until(() => host.planner.finished('late'))
      assert.deepEqual([outcome, /the window of the job 'nightly' has ended/.test(text)], ['failed', true], text)
      assert.deepEqual(host.archives(), [])
      host.planner.give(run('now', due, { now: true }))
      await until(() => host.planner.ended().length === 1)
      assert.equal(host.archives().length, 1)
      // The planner has seen it open: only this host's clock is behind.
      host.jobFile(
        'nightly',
        `limits: { window: ${clock(0.5)}-${clock(3)} }
`,
      )
      host.planner.give(run('behind', due + 60_000))
      await until(() => host.planner.ended().length === 2)
      assert.equal(host.archives().length, 2)
    },
  )

  test('verifies, prunes and reports', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly', '', `{ place: ${host.dir}/place, keep: { last: 1 } }`)
    await host.start()
    host.planner.give(run('w1', due))
    await until(() => host.planner.ended().length === 1)
    const place = join(host.dir, 'place/web', nameOf(due))
    host.planner.give({ id: 'v1', attempt: 1, kind: 'verify', job: 'nightly', archive: place })
    assert.equal((await until(() => host.planner.finished('v1'))).outcome, 'done')
    const checks = JSON.parse(readFileSync(`${place}.checks`, 'utf8'))
    assert.deepEqual([checks.checks[0].kind, checks.checks[0].passed], ['verify', true])
    host.jobFile('nightly', '', `${host.dir}/place`)
    host.planner.give(run('w2', due + 60_000))
    await until(() => host.planner.ended().length === 2)
    host.jobFile('nightly', '', `{ place: ${host.dir}/place, keep: { last: 1 } }`)
    host.planner.give({ id: 'p1', attempt: 1, kind: 'prune', job: 'nightly', guest: 'web' })
    const pruned = await until(() => host.planner.finished('p1'))
    assert.match(pruned.text, /^1 archives were removed/)
    assert.deepEqual(host.archives(), [nameOf(due + 60_000)])

    const newer = join(host.dir, 'place/web', nameOf(due + 60_000))
    const bytes = readFileSync(newer)
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(newer, bytes)
    host.planner.give({ id: 'v2', attempt: 1, kind: 'verify', job: 'nightly', archive: newer })
    assert.equal((await until(() => host.planner.finished('v2'))).outcome, 'failed')

    const inventories = host.planner.inventories.length
    const lists = host.planner.events.filter(({ event }) => event === 'archives').length
    host.planner.give({ id: 'r1', attempt: 1, kind: 'report', archives: true })
    assert.equal((await until(() => host.planner.finished('r1'))).outcome, 'done')
    await until(() => host.planner.events.filter(({ event }) => event === 'archives').length > lists)
    assert.ok(host.planner.inventories.length > inventories)
  })

  test('tells all that is at its places if it is asked, also of guests that nobody remembers', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly')
    for (const guest of ['gone', 'a b/c']) {
      const folder = join(host.dir, 'place', guestFolder(guest))
      mkdirSync(folder, { recursive: true })
      await backup({ drives: { 'drive-scsi0': host.disk('web') }, to: join(folder, 'old.vma.zst'), guest })
    }
    mkdirSync(join(host.dir, 'place/papers'))
    writeFileSync(join(host.dir, 'place/papers/readme.txt'), 'mine')
    await host.start()
    host.planner.give({ id: 'r1', attempt: 1, kind: 'report', archives: true })
    await until(() => host.planner.finished('r1'))
    const lists = await until(() => {
      const all = host.planner.events.flatMap((event) => (event.event === 'archives' ? [event] : []))
      return all.length >= 2 && all
    })
    assert.deepEqual(lists.map(({ guest, archives }) => [guest, archives.map(({ name }) => name).join()]).sort(), [
      ['a b/c', 'old.vma.zst'],
      ['gone', 'old.vma.zst'],
    ])
  })

  test('tells of an archive that no key of the host opens, as planners of any version read it', limit, async (t) => {
    const host = await fleetHost(t)
    const recipient = 'age1wun7d3s74gtd956333l05tfsvk3sarlnxavm58h23w4tadlyzf2qf7xxlt'
    host.jobFile('nightly', '', `{ place: ${host.dir}/place, recipients: [${recipient}] }`)
    await host.start()
    host.planner.give(run('w1', due))
    const list = await until(() => host.planner.events.find(({ event }) => event === 'archives'))
    const read = agentEvent.parse(list)
    assert.ok(read.event === 'archives')
    const [{ guest, encrypted, locked, unreadable, written }] = read.archives
    assert.deepEqual([guest, encrypted, locked], ['web', true, true])
    assert.ok(Math.abs(Date.parse(written!) - Date.now()) < 3_600_000, written)
    // What an older planner reads of it.
    assert.ok(unreadable)
    // The time of a file may be of no calendar, and the others are listed all the same.
    const [one] = read.archives
    const strange = agentEvent.parse({ ...read, archives: [{ ...one, written: '+012026-01-01T00:00:00.000Z' }, one] })
    assert.deepEqual(strange.event === 'archives' && strange.archives.map((archive) => archive.written), [
      undefined,
      written,
    ])
  })

  test('of a drained host asks for no guests, and two agents of one state refuse each other', limit, async (t) => {
    const host = await fleetHost(t)
    host.jobFile('nightly')
    host.planner.drained = true
    const free: unknown[] = []
    host.planner.answers.set('work', (said, response) => {
      free.push(said.free)
      setTimeout(() => response.end('{"works":[]}'), 100)
    })
    await host.start()
    await until(() => free.length > 1)
    assert.deepEqual(free.slice(0, 2), [0, 0])
    await assert.rejects(host.start(), { code: 'FAILED', message: /another agent runs/ })
  })

  test('logs once what the planner has left out of its host', limit, async (t) => {
    const host = await fleetHost(t)
    host.planner.warnings = ['it has more than 10000 guests: the others are left out', 'a line\u001b[2J']
    await host.start()
    await until(() => host.planner.beats.length > 3)
    assert.deepEqual(
      host.lines.filter((line) => line.startsWith('warning: ')),
      [
        'warning: the planner: it has more than 10000 guests: the others are left out',
        'warning: the planner: a line\\u{1b}[2J',
      ],
    )
  })

  test('does not tell where files of keys are', limit, async (t) => {
    const host = await fleetHost(t)
    const recipient = 'age1wun7d3s74gtd956333l05tfsvk3sarlnxavm58h23w4tadlyzf2qf7xxlt'
    const key = join(host.dir, 'keys/nightly.txt')
    host.jobFile('nightly', `identity: [${key}]\n`, `{ place: ${host.dir}/place, recipients: [${recipient}] }`)
    const told: string[] = []
    const { planner } = host
    await host.start()
    // The file is not there.
    planner.give(run('w1', due))
    await until(() => planner.ended().length === 1)
    const archive = join(host.dir, 'place/web', `${nameOf(due)}.age`)
    planner.give({ id: 'v1', attempt: 1, kind: 'verify', job: 'nightly', archive })
    await until(() => planner.finished('v1'))
    await until(() => planner.events.some(({ event }) => event === 'archives'))
    for (const all of [planner.inventories, planner.beats, planner.events]) told.push(JSON.stringify(all))
    assert.match(told.join(), /…\/nightly\.txt/)
    assert.ok(!told.join().includes(key))
    // What else is in that folder is told as it is.
    assert.ok(told.join().includes(`${host.dir}/place`))
  })
})
