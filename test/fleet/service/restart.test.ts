import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunningWork } from '../../../src/fleet/messages/beat.ts'
import type { FleetOptions } from '../../../src/fleet/service/options.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { AgentOfTest, endedEvent } from './agent-of-test.ts'
import { open, until } from './opened.ts'

const NAS = [{ place: '/mnt/nas', storage: 'nas', parallel: null }]
const OWN: RunningWork = {
  ...{ id: null, job: 'nightly', guest: 'b', since: '2026-01-01T00:00:00Z', places: ['/mnt/nas'], progress: null },
}

describe('what the planner does not know yet', needsPostgres(), () => {
  let cluster: Cluster
  let databases = 0
  before(async () => {
    cluster = await startPostgres()
  })
  after(() => cluster?.stop())
  const options = async (parts: Partial<FleetOptions> = {}): Promise<FleetOptions> => {
    databases += 1
    const database = await cluster.make(`db${databases}`)
    return { database, folder: '/', heartbeat: 1000, storages: { nas: { parallel: 1 } }, ...parts }
  }

  test('after a restart a storage is written to only when every host that may use it has said what it runs', async () => {
    const where = await options()
    const first = await open(where)
    const a = await first.host('a1', { guests: ['a'], jobs: [{ places: NAS }, { name: 'local', guests: ['a2'] }] })
    const b = await first.host('b1', { guests: ['b'], jobs: [{ places: NAS }] })
    await first.close()
    await using fleet = await open(where)
    const [again, other] = [a.of(fleet), b.of(fleet)]
    other.running = [OWN]
    again.options.guests.push('a2')
    await again.begin()
    fleet.beating.push(again)
    const [waits] = await fleet.people.start({ host: 'a1', job: 'nightly', guests: ['a'] })
    const [local] = await fleet.people.start({ host: 'a1', job: 'local' })
    // What shares nothing with the other host does not wait.
    assert.deepEqual(
      (await again.work({ wait: 1500 })).map(({ id }) => id),
      [local],
    )
    const { waiting } = await fleet.people.status()
    assert.equal(waiting.find(({ id }) => id === waits)!.reason, 'host b1 has not said yet what it runs')
    await other.beat()
    fleet.beating.push(other)
    assert.deepEqual(await again.work({ wait: 500 }), [], 'the other host uses the storage')
    other.running = []
    await other.beat()
    assert.deepEqual(
      (await again.work({ wait: 10_000 })).map(({ id }) => id),
      [waits],
    )
  })

  test('a time that has passed on the clock of a host, but not here, comes after a restart too', async () => {
    const where = await options()
    const [due, later] = [3000, 86_400_000].map((after) => new Date(Date.now() + after).toISOString())
    const clock = () => Date.now() + 600_000
    const first = await open(where)
    const a = await first.host('a1', { guests: ['a'], jobs: [{ next: [due, later] }], clock })
    // So the host says it itself, by its clock.
    a.options.jobs = [{ next: [later] }]
    await a.inventory()
    await first.close()
    await using fleet = await open(where)
    const again = a.of(fleet)
    await again.begin()
    fleet.beating.push(again)
    const [work] = await again.work({ wait: 20_000 })
    assert.equal((work as { due: string }).due, due)
    await again.end(work)
    await again.inventory()
    assert.deepEqual(await again.work({ wait: 500 }), [], 'it is not given twice')
  })

  test('a host that does not come back after a restart is not waited for longer than three heartbeats', async () => {
    const where = await options()
    const first = await open(where)
    const a = await first.host('a1', { guests: ['a'], jobs: [{ places: NAS }] })
    await first.host('b1', { guests: ['b'], jobs: [{ places: NAS }] })
    await first.close()
    await using fleet = await open(where)
    const again = a.of(fleet)
    await again.begin()
    fleet.beating.push(again)
    const [id] = await fleet.people.start({ host: 'a1', job: 'nightly' })
    assert.deepEqual(
      (await again.work({ wait: 20_000 })).map((work) => work.id),
      [id],
    )
    assert.equal((await fleet.people.hosts()).find(({ host }) => host === 'b1')!.state, 'gone')
  })

  test('a run of a guest that appeared, or came to the host, while the planner was away is in the history', async () => {
    const where = await options()
    const first = await open(where)
    const a = await first.host('a1', { guests: ['a'] })
    await first.host('b1', { guests: ['b'] })
    await first.close()
    await using fleet = await open(where)
    const again = a.of(fleet)
    again.options.guests.push('new', 'b')
    const runs = ['new', 'b', 'a', 'of-nobody'].map((guest) => endedEvent({ guest }))
    const ids = runs.map(({ id }) => id)
    const guestsWithRows = async () => (await fleet.people.works({ most: 9 })).flatMap(({ guest }) => guest ?? [])
    await again.hello()
    // The events come before the inventory that has these guests: the host keeps them.
    assert.deepEqual(await again.tell(...runs), [ids[2]])
    assert.deepEqual(await guestsWithRows(), ['a'])
    await again.inventory()
    assert.deepEqual(await again.tell(...runs), ids)
    assert.deepEqual((await guestsWithRows()).sort(), ['a', 'b', 'new'])
    const { problems } = await fleet.people.status()
    assert.equal(problems.filter((line) => /^a1 told of a guest that it does not have/.test(line)).length, 1)
    // A new hello, as after a network that was away.
    again.options.guests.push('newer')
    await again.hello()
    const late = endedEvent({ guest: 'newer' })
    assert.deepEqual(await again.tell(late), [])
    await again.inventory()
    assert.deepEqual(await again.tell(late), [late.id])
    assert.ok((await guestsWithRows()).includes('newer'))
  })

  test('a host that joins is asked for the archives that were there before it, and for those of a place that is new', async () => {
    const where = await options()
    const first = await open(where)
    const agent = new AgentOfTest(first, 'a1', { guests: ['a'] })
    const asked = async (of: AgentOfTest, wait = 300) => (await of.fetchOnly({ free: 0, wait })).map(({ kind }) => kind)
    await agent.hello()
    await agent.inventory()
    await agent.beat()
    const [report] = await agent.work({ free: 0 })
    assert.deepEqual([report.kind, report.kind === 'report' && report.archives], ['report', true])
    await agent.end(report)
    await agent.inventory()
    assert.deepEqual(await asked(agent), [])
    await first.close()
    await using fleet = await open(where)
    const again = agent.of(fleet)
    await again.hello()
    await again.inventory()
    await again.beat()
    assert.deepEqual(await asked(again), [])
    again.options.jobs = [{ places: [...NAS, { place: '/srv/backup', storage: null, parallel: null }] }]
    await again.inventory()
    assert.deepEqual(await asked(again, 20_000), ['report'])
  })

  test('other limits of storages count at once, and a limit that is gone keeps nothing waiting', async () => {
    await using fleet = await open(await options({ storages: { nas: { parallel: 1 } } }))
    const agent = await fleet.host('a1', { guests: ['a', 'b', 'c'], parallel: 3, jobs: [{ places: NAS }] })
    await fleet.people.start({ job: 'nightly' })
    const given = await agent.work({ free: 3 })
    assert.deepEqual([given.length, (await agent.work({ free: 3, wait: 300 })).length], [1, 0])
    fleet.setStorages({ nas: { parallel: 2 } })
    const [second] = await agent.work({ free: 3, wait: 10_000 })
    assert.deepEqual(await agent.work({ free: 3, wait: 300 }), [])
    fleet.setStorages({})
    const [third] = await agent.work({ free: 3, wait: 10_000 })
    for (const work of [...given, second, third]) await agent.end(work)
  })

  test('a host is there from its hello on, and gone if it never beats', async () => {
    await using fleet = await open(await options())
    const agent = new AgentOfTest(fleet, 'a1', { guests: ['a'] })
    await agent.hello()
    await agent.inventory()
    const state = async () => (await fleet.people.hosts())[0].state
    assert.equal(await state(), 'up')
    assert.doesNotMatch((await fleet.people.guests())[0].problem ?? '', /gone/)
    // Nothing begins before it has said what it runs.
    const [id] = await fleet.people.start({ job: 'nightly' })
    assert.deepEqual(await agent.work({ wait: 300 }), [])
    assert.equal((await fleet.people.works({ guest: 'a', most: 1 }))[0].reason, 'host a1 has not said yet what it runs')
    await until(async () => (await state()) === 'gone')
    await agent.beat()
    assert.equal(await state(), 'up')
    await agent.end((await agent.work({ free: 0 }))[0])
    assert.deepEqual(
      (await agent.work()).map((work) => work.id),
      [id],
    )
  })

  test('what is no backup is given again to the same agent if it did not arrive, and not if a heartbeat names it', async () => {
    await using fleet = await open(await options())
    const agent = await fleet.host('a1', { guests: ['a'] })
    const id = await fleet.people.verify({ host: 'a1', job: 'nightly', archive: '/srv/backup/a.vma' })
    const [lost] = await agent.fetchOnly({ free: 0 })
    assert.deepEqual([lost.id, lost.attempt], [id, 1])
    const [again] = await agent.fetchOnly({ free: 0, wait: 20_000 })
    assert.deepEqual([again.id, again.attempt], [id, 2])
    agent.running = [{ ...OWN, id, guest: null }]
    assert.deepEqual(await agent.fetchOnly({ free: 0, wait: 5000 }), [])
    // Its end may be on its way when a heartbeat does not name it any more.
    agent.running = []
    await agent.beat()
    await agent.end(again)
    assert.equal((await fleet.people.works({ most: 1 }))[0].state, 'done')
  })

  test('a work that has just ended is not begun again because a heartbeat came before the event', async () => {
    await using fleet = await open(await options({ heartbeat: 500 }))
    const agent = await fleet.host('a1', { guests: ['a'] })
    await fleet.people.start({ job: 'nightly' })
    const [work] = await agent.work()
    await sleep(2500)
    const ended = agent.ended(work, { outcome: 'failed', report: { reason: 'no' } })
    await agent.beat()
    assert.equal((await fleet.people.works({ guest: 'a', most: 1 }))[0].state, 'running')
    await agent.tell(ended)
    const [row] = await fleet.people.works({ guest: 'a', most: 1 })
    assert.deepEqual([row.state, row.attempt], ['waiting', 1])
    assert.match(row.reason!, /is tried again at/)
  })

  test('a new start of an agent ends the poll of the one that has died, so that nothing is given to that', async () => {
    await using fleet = await open(await options())
    const dead = await fleet.host('a1', { guests: ['a'] })
    const polled = dead.fetchOnly({ wait: 30_000 })
    await sleep(50)
    dead.incarnation = 'second'
    await dead.begin()
    // Well before it would have ended by itself.
    assert.deepEqual(await Promise.race([polled, sleep(10_000, 'it waits still', { ref: false })]), [])
    const [id] = await fleet.people.start({ job: 'nightly' })
    const [work] = await dead.work()
    assert.deepEqual([work.id, work.attempt], [id, 1])
  })
})
