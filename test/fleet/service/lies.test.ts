import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { endedEvent } from './agent-of-test.ts'
import { type Opened, open } from './opened.ts'

describe('a host that lies', needsPostgres(), () => {
  let cluster: Cluster
  let fleet: Opened
  before(async () => {
    cluster = await startPostgres()
    fleet = await open({ database: cluster.url, folder: '/', heartbeat: 1000 })
  })
  after(async () => {
    await fleet?.close()
    await cluster?.stop()
  })
  const guest = async (name: string) => (await fleet.people.guests()).find((one) => one.name === name)!
  const archives = (guest: string, ...of: object[]) => ({
    ...{ id: '1', event: 'archives', at: new Date().toISOString(), job: 'nightly', place: '/srv/backup', guest },
    archives: of,
  })
  const archive = (guest: string, ctime: number) => ({
    ...{ place: '/srv/backup', name: 'x.vma', guest, uuid: '1', ctime, kind: 'full', parent: null, size: 1 },
    ...{ encrypted: false, protected: false, notes: null, checks: [] },
  })

  test("makes nobody else's guest look backed up, and keeps nobody from backing it up", async () => {
    const good = await fleet.host('a1', { guests: ['a'] })
    const evil = await fleet.host('a2', { guests: ['mine', 'a'] })
    await evil.tell(endedEvent({ guest: 'a' }), archives('a', archive('a', 1_700_000_000)))
    assert.equal((await guest('a')).lastGood, null)
    assert.deepEqual(await fleet.people.archives({ guest: 'a' }), [])
    // Archives of another guest among those of its own.
    await evil.tell(archives('mine', archive('a', 1_700_000_000)))
    assert.equal((await guest('mine')).lastGood, null)
    const place = ['/srv/backup']
    evil.running = [{ id: null, job: 'x', guest: 'a', since: new Date().toISOString(), places: place, progress: null }]
    await evil.beat()
    const [id] = await fleet.people.start({ host: 'a1', job: 'nightly' })
    const [work] = await good.work()
    assert.equal(work.id, id)
    await good.end(work)
    assert.ok((await guest('a')).lastGood)
  })

  test('tells of no time that is later than now, also by a clock that is not of this world', async () => {
    const evil = await fleet.host('b1', { guests: ['b', 'b2'] })
    const soon = () => Date.now() + 1000
    await evil.tell(archives('b2', archive('b2', 1e300)))
    assert.equal((await guest('b2')).lastGood, null)
    await evil.tell(endedEvent({ guest: 'b', started: '2999-01-01T00:00:00Z' }))
    assert.ok(Date.parse((await guest('b')).lastGood!) < soon())
    fleet.beating.splice(fleet.beating.indexOf(evil), 1)
    for (const at of [1e300, -1e300]) {
      await fleet.agents.hello('b1', {
        ...{ protocol: 1, version: '1', labels: [], zone: 'UTC', parallel: 1, clock: at, incarnation: 'mad' },
      })
      await evil.tell(endedEvent({ guest: 'b', run: String(at) }))
    }
    assert.ok(Date.parse((await guest('b')).lastGood!) < soon())
    // Others are served as before.
    const good = await fleet.host('b3', { guests: ['b4'] })
    const [id] = await fleet.people.start({ host: 'b3', job: 'nightly' })
    assert.equal((await good.work())[0].id, id)
  })

  test('or whose clock was ahead makes no guest look well until then, however often it tells', async () => {
    const odd = await fleet.host('d1', { guests: ['d', 'd2'], jobs: [{ promise: 3600 }] })
    odd.options.lastGood = '2999-01-01T00:00:00Z'
    await odd.inventory()
    const past = Math.floor(Date.now() / 1000) - 5400
    await odd.tell(archives('d2', archive('d2', past), archive('d2', 32_472_144_000)))
    await odd.inventory()
    const [d, d2] = [await guest('d'), await guest('d2')]
    assert.deepEqual([d.state, d.lastGood], ['overdue', null])
    assert.deepEqual([d2.state, d2.lastGood], ['late', new Date(past * 1000).toISOString()])
    const { problems } = await fleet.people.status()
    assert.ok(
      problems.some((text) => /newest backup of 'd' is of the future.*clock of d1/.test(text)),
      String(problems),
    )
  })

  test('with a guest that its token is not for does not keep the next night of that guest from coming', async () => {
    await fleet.tokens.make({ name: 'c1', kind: 'agent', guests: ['c1-*'] })
    const next = new Date(Date.now() + 2000).toISOString()
    const evil = await fleet.host('c1', { guests: ['c1-web', 'other'], jobs: [{ next: [next] }] })
    await evil.tell(endedEvent({ guest: 'other', started: '2999-01-01T00:00:00Z' }))
    assert.deepEqual(await fleet.people.works({ guest: 'other', most: 5 }), [])
    const good = await fleet.host('c2', { guests: ['other'], jobs: [{ next: [next] }] })
    const [work] = await good.work({ wait: 20_000 })
    assert.ok(work.kind === 'run' && work.guest === 'other')
  })

  test('with thousands of places costs the planner little for each heartbeat', async () => {
    const places = Array.from({ length: 50 }, (_, at) => at)
    const jobs = Array.from({ length: 1000 }, (_, job) => ({
      name: `j${job}`,
      places: places.map((at) => ({ place: `/p/${job}/${at}`, storage: null, parallel: 1 })),
    }))
    const evil = await fleet.host('d1', { guests: ['d'], jobs })
    evil.running = Array.from({ length: 1000 }, (_, at) => ({
      ...{ id: null, job: `j${at}`, guest: `g${at}`, since: new Date().toISOString(), progress: null },
      places: places.map((place) => `/p/999/${place}`),
    }))
    await evil.beat()
    const before = process.cpuUsage()
    await evil.beat()
    const { user } = process.cpuUsage(before)
    fleet.beating.splice(fleet.beating.indexOf(evil), 1)
    // 50,000 places. With a search in 50,000 for each it took minutes.
    assert.ok(user < 5_000_000, `${user} µs`)
  })
})
