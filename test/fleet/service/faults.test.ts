import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openFleet } from '../../../src/fleet/service/open.ts'
import type { FleetOptions } from '../../../src/fleet/service/options.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { cutOff } from './cut-off.ts'
import { HEARTBEAT, open, until } from './opened.ts'

describe('faults around the planner, on PostgreSQL', needsPostgres(), () => {
  let cluster: Cluster
  let databases = 0
  before(async () => {
    cluster = await startPostgres()
  })
  after(() => cluster?.stop())
  const options = async (parts: Partial<FleetOptions> = {}): Promise<FleetOptions> => {
    databases += 1
    return { database: await cluster.make(`db${databases}`), folder: '/', heartbeat: HEARTBEAT, ...parts }
  }

  test('PostgreSQL is killed and comes back: calls fail in one line meanwhile, and nothing that was known is lost', async () => {
    const warned: string[] = []
    await using fleet = await open(await options({ warn: (line) => warned.push(line) }))
    const agent = await fleet.host('a1', { guests: ['a', 'b', 'c'], parallel: 3 })
    const ids = await fleet.people.start({ job: 'nightly' })
    const [first, second] = await agent.work({ free: 2 })
    await cluster.kill()
    await until(async () => (await fleet.people.status()).problems.some((problem) => /database is away/.test(problem)))
    // Heartbeats need no database, so the host stays up.
    const away = { code: 'FAILED', message: 'the database is away' }
    await agent.beat()
    await assert.rejects(agent.end(first), away)
    await assert.rejects(fleet.people.works({ most: 5 }), away)
    await assert.rejects(fleet.people.start({ job: 'nightly' }), away)
    await assert.rejects(agent.hello(), away)
    assert.equal((await fleet.people.status()).hosts.up, 1)
    await sleep(4 * HEARTBEAT)
    await cluster.start()
    await until(
      async () =>
        await agent.tell(agent.ended(first)).then(
          () => true,
          () => false,
        ),
    )
    await agent.end(second)
    // The one that waited is given out once, as if nothing had been.
    const [third] = await agent.work({ wait: 10_000 })
    assert.ok(third.kind === 'run' && ids.includes(third.id))
    await agent.end(third)
    const rows = await fleet.people.works({ most: 100 })
    for (const id of ids) {
      const row = rows.find((work) => work.id === id)!
      assert.deepEqual([row.state, row.attempt], ['done', 1], row.guest!)
    }
    assert.deepEqual(await agent.work({ wait: 300 }), [])
    assert.ok(warned.some((line) => /is away \(.*; trying again/.test(line)))
    assert.ok(!warned.some((line) => line.includes('password')))
  })

  test('a planner that is restarted in the middle knows what runs, and begins nothing before the first heartbeat', async () => {
    const where = await options()
    const before = await open(where)
    const agent = await before.host('a1', { guests: ['a', 'b', 'c'], parallel: 2 })
    const ids = await before.people.start({ job: 'nightly' })
    const [first, second] = await agent.work({ free: 2 })
    await before.close()
    await using fleet = await open(where)
    const again = agent.of(fleet)
    const polled = again.work({ wait: 1500, free: 3 })
    await sleep(500)
    assert.equal((await fleet.people.status()).hosts.up, 0)
    await again.beat()
    assert.deepEqual(await polled, [], 'two run, and the host takes two')
    const { running, waiting } = await fleet.people.status()
    assert.deepEqual(new Set(running.map(({ id }) => id)), new Set([first.id, second.id]))
    assert.equal(waiting.length, 1)
    fleet.beating.push(again)
    await again.end(first)
    const [third] = await again.work()
    assert.ok(ids.includes(third.id) && third.id !== first.id && third.id !== second.id)
    await again.end(second)
    await again.end(third)
    for (const work of await fleet.people.works({ most: 10 })) assert.deepEqual([work.state, work.attempt], ['done', 1])
  })

  test('a planner that is restarted tries again what died with its host, and forgets no drained host, token or central job', async () => {
    const where = await options()
    const before = await open(where)
    const agent = await before.host('a1', { guests: ['a'], labels: ['x'] })
    const { text } = await before.tokens.make({ name: 'a1', kind: 'agent' })
    await before.people.putCentralJob(
      'central',
      'hosts: [x]\nguests: [{ libvirt: "*" }]\nto: [{ place: /srv/backup }]\n',
    )
    const other = await before.host('a2', { guests: ['b'] })
    await before.people.drain('a2', true)
    const [id] = await before.people.start({ job: 'nightly', host: 'a1' })
    await agent.work()
    await before.close()
    await using fleet = await open(where)
    assert.equal((await fleet.tokens.check(text))!.name, 'a1')
    assert.deepEqual(
      (await fleet.people.centralJobs()).map(({ hosts }) => hosts),
      [['a1']],
    )
    await other.of(fleet).begin()
    assert.equal((await fleet.people.hosts()).find(({ host }) => host === 'a2')!.state, 'drained')
    // The host does not come back, so it is gone.
    await until(async () => (await fleet.people.works({ most: 1, guest: 'a' }))[0].state === 'waiting')
    const again = agent.of(fleet)
    again.running = []
    again.incarnation = 'second'
    await again.begin()
    const [work] = await again.work()
    assert.deepEqual([work.id, work.attempt], [id, 2])
  })

  test('a second planner waits, and takes over when the first is gone', async () => {
    const where = await options()
    const first = await open(where)
    const agent = await first.host('a1', { guests: ['a'] })
    const [id] = await first.people.start({ job: 'nightly' })
    await agent.work()
    const informed: string[] = []
    let isThere = false
    const waiting = open({ ...where, inform: (line) => informed.push(line) }).then((fleet) => {
      isThere = true
      return fleet
    })
    await until(async () => informed.some((line) => /another planner/.test(line)))
    await sleep(300)
    assert.equal(isThere, false)
    await first.close()
    await using second = await waiting
    const again = agent.of(second)
    await again.beat()
    assert.ok((await second.people.status()).running.some((work) => work.id === id))
    await again.end({ id, attempt: 1, kind: 'run', job: 'nightly', guest: 'a', due: '' })
    assert.equal((await second.people.works({ most: 1 }))[0].state, 'done')
    // One that gives up to wait leaves nothing behind.
    const gaveUp = new AbortController()
    setTimeout(() => gaveUp.abort(), 300)
    await assert.rejects(openFleet({ ...where, signal: gaveUp.signal }))
  })

  test('a planner whose connections were cut finds another on duty, says so, and goes on when that one ends', async () => {
    const where = await options()
    await using first = await open(where)
    const agent = await first.host('a1', { guests: ['a'] })
    const waiting = open(where)
    await cutOff(cluster, where.database!.match(/(db\d+)/)![1])
    const second = await waiting
    await until(
      async () =>
        await first.people.status().then(
          () => false,
          ({ message }) => /another planner/.test(message),
        ),
    )
    await assert.rejects(agent.work({ wait: 100 }), { code: 'FAILED', message: /another planner/ })
    const there = agent.of(second)
    await there.begin()
    const [id] = await second.people.start({ job: 'nightly' })
    const [work] = await there.work()
    assert.equal(work.id, id)
    await second.close()
    await until(
      async () =>
        await first.people.status().then(
          () => true,
          () => false,
        ),
    )
    const back = agent.of(first)
    back.running = there.running
    await back.beat()
    await back.end(work)
    assert.equal((await first.people.works({ most: 1 }))[0].state, 'done')
  })

  test('a work that was delivered and never arrived is delivered again, and a second end of it changes nothing', async () => {
    await using fleet = await open(await options())
    const agent = await fleet.host('a1', { guests: ['a'] })
    const [id] = await fleet.people.start({ job: 'nightly' })
    const [lost] = await agent.fetchOnly()
    assert.equal(lost.attempt, 1)
    const [again] = await agent.work({ wait: 10_000 })
    assert.deepEqual([again.id, again.attempt], [id, 2])
    await agent.end(again)
    await agent.end(again, { outcome: 'failed', report: { reason: 'no' } })
    const [row, ...more] = await fleet.people.works({ guest: 'a', most: 10 })
    assert.deepEqual([row.state, row.attempt, more.length], ['done', 2, 0])
    // A poll whose connection broke gets nothing that it cannot take.
    await fleet.people.start({ job: 'nightly' })
    const cut = new AbortController()
    const polled = agent.work({ signal: cut.signal, wait: 60_000 })
    cut.abort()
    assert.deepEqual(await polled.catch(() => []), [])
    assert.equal((await agent.work({ wait: 10_000 })).length, 1)
  })

  test('a database that is away when the planner starts is waited for', async () => {
    const where = await options()
    await cluster.kill()
    const warned: string[] = []
    const opening = open({ ...where, warn: (line) => warned.push(line) })
    await until(async () => warned.some((line) => /away/.test(line)))
    const gaveUp = new AbortController()
    setTimeout(() => gaveUp.abort(), 100)
    await assert.rejects(openFleet({ ...where, signal: gaveUp.signal }), { message: 'the database is away' })
    await cluster.start()
    await using fleet = await opening
    assert.equal((await fleet.people.status()).running.length, 0)
    await assert.rejects(openFleet({ ...where, database: where.database!.replace(/db\d+/, 'none') }), {
      code: 'CONFIG',
      message: /none.* does not exist/,
    })
    await assert.rejects(openFleet({ ...where, database: 'mysql://x' }), { code: 'USAGE' })
  })

  test('what pg_dump saved is a planner again in another database', async () => {
    const where = await options()
    const name = where.database!.match(/(db\d+)/)![1]
    const first = await open(where)
    const agent = await first.host('a1', { guests: ["a'ü"] })
    const { text } = await first.tokens.make({ name: 'a1', kind: 'agent' })
    await first.people.start({ job: 'nightly' })
    const [work] = await agent.work()
    await agent.end(work)
    // While it is at work, as the documentation says.
    const dump = join(tmpdir(), `vmapipe-dump-${process.pid}`)
    await cluster.program('pg_dump', '--format=custom', `--file=${dump}`, name)
    await first.close()
    const other = await options()
    await cluster.program('pg_restore', '--dbname', other.database!.match(/(db\d+)/)![1], dump)
    rmSync(dump)
    await using fleet = await open(other)
    assert.equal((await fleet.tokens.check(text))!.name, 'a1')
    const [row] = await fleet.people.works({ guest: "a'ü", most: 5 })
    assert.deepEqual([row.kind, row.state], ['run', 'done'])
    // And it goes on: the queue of the host is there.
    const again = agent.of(fleet)
    await again.begin()
    await fleet.people.start({ job: 'nightly' })
    assert.equal((await again.work()).length, 1)
  })
})

describe('faults around the planner, on PGlite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  after(() => rmSync(folder, { recursive: true, force: true }))

  test('a planner that is killed leaves a database that opens, and a copy of its folder is one too; a second process is refused', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'planner-process.ts'), folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [said] = await once(child.stdout!.setEncoding('utf8'), 'data')
    const { token, id } = JSON.parse(said)
    await assert.rejects(openFleet({ folder }), { code: 'FAILED', message: new RegExp(`process ${child.pid}`) })
    child.kill('SIGKILL')
    await once(child, 'close')
    const copy = join(folder, 'copy')
    cpSync(join(folder, 'pglite'), join(copy, 'pglite'), { recursive: true })
    for (const one of [folder, copy]) {
      const fleet = await openFleet({ folder: one })
      try {
        assert.equal((await fleet.tokens.check(token))!.name, 'a1')
        const [row] = await fleet.people.works({ guest: 'a', most: 5 })
        assert.deepEqual([row.id, row.state], [id, 'running'])
      } finally {
        await fleet.close()
      }
    }
  })
})
