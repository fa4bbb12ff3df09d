import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { AgentGuest, AgentJob, Inventory } from '../../../src/fleet/messages/inventory.ts'
import { workId } from '../../../src/fleet/planner/work-id.ts'
import { Caps, MOST } from '../../../src/fleet/service/caps.ts'
import { Problems } from '../../../src/fleet/service/problems.ts'
import { FleetState, HostState } from '../../../src/fleet/service/state.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { endedEvent, guest, job } from './agent-of-test.ts'
import { type Opened, open } from './opened.ts'

const DAY_MS = 24 * 3600_000

/** Caps with a host, at a time that the test sets. */
function capped() {
  const lines: string[] = []
  const clock = { time: 0, now: () => clock.time, sleep: async () => {} }
  const state = new FleetState()
  const caps = new Caps({ state, problems: new Problems((line) => void lines.push(line)), clock })
  const stored = { labels: [], zone: null, parallel: 2, version: null, incarnation: null, drained: false, seen: null }
  return { lines, clock, state, caps, host: new HostState({ host: 'h1', ...stored }, 0) }
}

const inventory = (guests: AgentGuest[], jobs: AgentJob[]): Inventory => ({
  at: new Date().toISOString(),
  ...{ guests, jobs, warnings: [] },
})

const names = (count: number, word = 'g') => Array.from({ length: count }, (_, at) => `${word}${at}`)

test('a host with 2,000 guests, all of them in each of 50 jobs, meets no cap', () => {
  const { caps, host, state, lines, clock } = capped()
  const guests = names(2000)
  const jobs = names(50, 'job')
  const said = inventory(
    guests.map((name) => guest(name, jobs)),
    jobs.map((name) =>
      job({
        name,
        guests,
        places: names(50).map((at) => ({ place: `/srv/${name}/${at}`, storage: null, parallel: 1 })),
      }),
    ),
  )
  assert.deepEqual(caps.fit(host, said), said)
  // It was renamed a moment ago, all of it.
  for (const name of guests)
    state.guests.set(`old-${name}`, { guest: `old-${name}`, host: 'h1', identity: null, lastGood: null, failure: null })
  assert.deepEqual(caps.fit(host, said), said)
  for (let night = 0; night < 3; night++, clock.time += DAY_MS)
    for (let count = 0; count < 2000 * 50; count++) assert.ok(caps.mayRun(host))
  for (const name of guests) for (const at of names(10)) assert.ok(caps.mayList(host, at, name, 100_000))
  const report = { guest: 'g', outcome: 'done', places: names(50, '/srv/backup/guest/archive'), warnings: [] }
  assert.deepEqual(caps.reportOf(host, endedEvent({ report })), report)
  assert.deepEqual(lines, [])
})

test('what is more than a host may have is left out, and told once', () => {
  const { caps, host, lines, clock } = capped()
  const guests = names(20_000)
  const fitted = caps.fit(
    host,
    inventory(
      guests.map((name) => guest(name, ['nightly'])),
      [job({ guests })],
    ),
  )
  assert.deepEqual([fitted.guests.length, fitted.jobs[0].guests.length], [MOST.guests, 20_000])
  const jobs = names(1000, 'job').map((name) => job({ name, guests: guests.slice(0, 1000) }))
  const counted = caps.fit(host, inventory([], jobs)).jobs
  assert.equal(counted.length, 1000)
  assert.equal(
    counted.reduce((sum, one) => sum + one.guests.length, 0),
    MOST.inJobs,
  )
  const places = names(1000, 'job').map((name) =>
    job({
      ...{ name, guests: ['g'] },
      places: names(50).map((at) => ({ place: `/srv/${name}/${at}`, storage: null, parallel: 1 })),
    }),
  )
  const placed = caps.fit(host, inventory([], places)).jobs
  assert.equal(
    placed.reduce((sum, one) => sum + one.places.length, 0),
    MOST.places,
  )
  // No guest of it looks backed up that lacks a place.
  assert.ok(placed.every((one) => one.guests.length === 0 || one.places.length === 50))
  for (let count = 0; count < MOST.runs; count++) caps.mayRun(host)
  assert.ok(!caps.mayRun(host) && !caps.mayRun(host))
  clock.time += DAY_MS / 10
  assert.ok(caps.mayRun(host))
  for (let count = 0; count < MOST.lists; count++) caps.mayList(host, `/p${count}`, 'g', 10)
  assert.ok(!caps.mayList(host, '/another', 'g', 10))
  assert.ok(caps.mayList(host, '/p1', 'g', 20), 'one that it has may change')
  assert.ok(!caps.mayList(host, '/p1', 'g', MOST.listBytes))
  assert.ok(caps.mayList(host, '/p2', 'g', 0) && caps.mayList(host, '/another', 'g', 10))
  const report = { kind: 'full', warnings: names(5000), stored: 7 }
  assert.deepEqual(caps.reportOf(host, endedEvent({ report })), { kind: 'full', stored: 7 })
  assert.deepEqual(lines, [
    'h1: it has more than 10000 guests: the others are left out',
    'h1: its jobs have more than 200000 guests or 5000 places together: the others are left out',
    'h1: more than 200000 backups in a day: the others are neither made nor written down',
    'h1: more than 50000 lists of archives or 4 GiB of them: the others are left out',
    'h1: the report of a backup has more than 16 KiB, and was shortened',
  ])
  assert.deepEqual(
    [...host.notes],
    lines.map((line) => line.slice('h1: '.length)),
  )
})

test('what an earlier planner has written down counts, as far as the hours since then have not let it go', () => {
  const { caps, host, lines } = capped()
  const left = () => {
    let count = 0
    while (caps.mayRun(host)) count++
    return count
  }
  // Of those of 20 hours ago as many as a day's part of 20 hours are gone.
  caps.hasRun(host, { hoursAgo: 20, count: MOST.runs * 0.9 })
  caps.hasRun(host, { hoursAgo: 0, count: MOST.runs * 0.5 })
  assert.equal(left(), Math.floor(MOST.runs * (1 - 0.5 - (0.9 - 20 / 24))))
  assert.equal(lines.length, 1)
})

describe('a planner with hosts that claim too much', needsPostgres(), () => {
  let cluster: Cluster
  let fleet: Opened
  before(async () => {
    cluster = await startPostgres()
    fleet = await open({
      database: cluster.url,
      folder: '/',
      heartbeat: 1000,
      storages: { nas: { parallel: 2 }, san: { parallel: 2 } },
    })
  })
  after(async () => {
    await fleet?.close()
    await cluster?.stop()
  })
  const own = (jobName: string, name: string, place: string) => ({
    ...{ id: null, job: jobName, guest: name, since: new Date().toISOString(), places: [place], progress: null },
  })

  test('remembers no more guests of a host than it may have, although they are others each time', async () => {
    const evil = await fleet.host('many', { guests: names(6000, 'a-'), jobs: [{ guests: [] }] })
    // It tells what it hears, to this test alone.
    fleet.beating.splice(fleet.beating.indexOf(evil), 1)
    evil.options = { guests: names(6000, 'b-'), jobs: [{ guests: [] }] }
    await evil.inventory()
    evil.options = { guests: names(6000, 'c-'), jobs: [{ guests: [] }] }
    await evil.inventory()
    const count = await cluster.program('psql', '-Atc', 'select count(*) from vmapipe.guests', 'postgres')
    assert.equal(Number(count), MOST.guests)
    const told = [...(await evil.beat()).warnings]
    assert.deepEqual(told, ['it has more than 10000 guests: the others are left out'])
    assert.deepEqual((await evil.beat()).warnings, [])
    assert.ok((await fleet.people.status()).problems.some((line) => /^many: it has more than/.test(line)))
  })

  test('lets a host hold slots of a storage only with what its jobs could run', async () => {
    const nas = [{ place: '/nas', storage: 'nas', parallel: null }]
    const mine = names(10, 'mine')
    const evil = await fleet.host('greedy', { guests: mine, parallel: 1, jobs: [{ places: nas }] })
    const good = await fleet.host('modest', { guests: names(3, 'm'), parallel: 3, jobs: [{ places: nas }] })
    // Jobs that it does not have, guests that are not in them, and guests of others.
    evil.running = [
      ...mine.map((name) => own('weekly', name, '/nas')),
      ...names(10, 'nobody').map((name) => own('nightly', name, '/nas')),
      ...names(3, 'm').map((name) => own('nightly', name, '/nas')),
    ]
    await evil.beat()
    await fleet.people.start({ host: 'modest', job: 'nightly' })
    const first = await good.work({ free: 3 })
    assert.equal(first.length, 2, 'both slots of the storage')
    for (const work of first) await good.end(work)
    for (const work of await good.work({ free: 3 })) await good.end(work)
    // What its job has: as many as it runs at once.
    evil.running = mine.map((name) => own('nightly', name, '/nas'))
    await evil.beat()
    await fleet.people.start({ host: 'modest', job: 'nightly' })
    const [work, ...others] = await good.work({ free: 3 })
    assert.deepEqual(others, [])
    evil.running = []
    await evil.beat()
    await good.end(work)
    for (const next of await good.work({ free: 3 })) await good.end(next)
  })

  test('does not take all works of a host for running because it says so', async () => {
    const san = [{ place: '/san', storage: 'san', parallel: null }]
    const evil = await fleet.host('eager', { guests: names(10, 'e'), parallel: 1, jobs: [{ places: san }] })
    const good = await fleet.host('calm', { guests: ['calm'], jobs: [{ places: san }] })
    const ids = await fleet.people.start({ host: 'eager', job: 'nightly' })
    evil.running = ids.map((id, at) => ({ ...own('nightly', `e${at}`, '/san'), id }))
    await evil.beat()
    await fleet.people.start({ host: 'calm', job: 'nightly' })
    assert.equal((await good.work()).length, 1)
    assert.ok(
      (await fleet.people.status()).problems.some((line) => /^eager: it names more works as running/.test(line)),
    )
  })

  test("a host takes the id of no other's work to come", async () => {
    const evil = await fleet.host('thief', { guests: ['stolen-from-none'] })
    const due = Date.now() + 2000
    const next = new Date(due).toISOString()
    const id = workId('nightly', 'victim', due)
    await evil.tell(endedEvent({ guest: 'stolen-from-none', work: id }))
    const good = await fleet.host('owner', { guests: ['victim'], jobs: [{ next: [next] }] })
    const [work] = await good.work({ wait: 20_000 })
    assert.deepEqual([work.id, work.kind === 'run' && work.guest], [id, 'victim'])
    const [row] = await fleet.people.works({ guest: 'victim', most: 5 })
    assert.deepEqual([row.id, row.host], [id, 'owner'])
    const [other] = await fleet.people.works({ host: 'thief', most: 5 })
    assert.match(other.id, /^own-/)
  })

  test('a restart does not let a host bring more backups', async (t) => {
    const most = MOST.runs
    t.after(() => {
      MOST.runs = most
    })
    const where = { database: await cluster.make('restarted'), folder: '/', heartbeat: 1000 }
    const first = await open(where)
    const evil = await first.host('endless', { guests: ['e'] })
    const honest = await first.host('quiet', { guests: ['q'] })
    MOST.runs = 5
    // It says that they are of long ago.
    const tell = async (to: typeof evil, guestName: string, count: number) => {
      const started = new Date(Date.now() - 30 * DAY_MS).toISOString()
      for (let at = 0; at < count; at++)
        await to.tell(endedEvent({ guest: guestName, started, at: started, run: `${at}` }))
    }
    await tell(evil, 'e', 7)
    await tell(honest, 'q', 2)
    await first.close()
    await using fleet2 = await open(where)
    const [again, other] = [evil.of(fleet2), honest.of(fleet2)]
    await again.begin()
    await other.begin()
    const written = async (host: string) =>
      (await fleet2.people.works({ host, most: 50 })).filter(({ kind }) => kind === 'run').length
    assert.deepEqual([await written('endless'), await written('quiet')], [5, 2])
    await tell(again, 'e', 3)
    await tell(other, 'q', 3)
    assert.deepEqual([await written('endless'), await written('quiet')], [5, 5])
    assert.ok((await fleet2.people.status()).problems.some((line) => /^endless: more than 5 backups/.test(line)))
  })

  test('a host that names other places again and again is asked for its archives once a minute', async () => {
    const evil = await fleet.host('restless', { guests: ['r'] })
    for (let at = 0; at < 5; at++) {
      evil.options.jobs = [{ places: [{ place: `/srv/${at}`, storage: null, parallel: null }] }]
      await evil.inventory()
    }
    const asked = (await fleet.people.works({ host: 'restless', most: 50 })).filter(({ kind }) => kind === 'report')
    assert.equal(asked.length, 1)
  })

  test('the same is not asked for twice, and no host gets works without end', async () => {
    const host = await fleet.host('asked', { guests: ['x', 'y'], jobs: [{}, { name: 'weekly' }] })
    const ids = await fleet.people.start({ host: 'asked', job: 'nightly' })
    assert.deepEqual(await fleet.people.start({ host: 'asked', job: 'nightly', guests: ['y', 'x', 'y'] }), ids)
    const given = await host.work()
    assert.equal(given.length, 2)
    assert.deepEqual(await fleet.people.start({ host: 'asked', job: 'nightly' }), ids)
    const verify = (at: number, boot?: boolean) =>
      fleet.people.verify({ host: 'asked', job: 'nightly', archive: `/srv/backup/x/${at}.vma`, ...(boot && { boot }) })
    const first = await verify(0)
    assert.equal(await verify(0), first)
    assert.notEqual(await verify(0, true), first)
    for (let at = 1; at < MOST.asked - 1; at++) await verify(at)
    await assert.rejects(verify(MOST.asked), { code: 'USAGE', message: /^asked has 1000 works that were asked for/ })
    assert.equal(await verify(1), await verify(1))
    await assert.rejects(fleet.people.prune({ host: 'asked', job: 'nightly' }), { code: 'USAGE' })
  })
})
