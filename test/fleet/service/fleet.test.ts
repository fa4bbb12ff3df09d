import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Fleet, WorkRow } from '../../../src/fleet/fleet.ts'
import { openFleet } from '../../../src/fleet/service/open.ts'
import type { FleetOptions } from '../../../src/fleet/service/options.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { AgentOfTest, endedEvent, type HostOfTest } from './agent-of-test.ts'

const HEARTBEAT = 600
const NO_PLACES = { places: [], progress: null }

describe('a fleet, on PGlite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  after(() => rmSync(folder, { recursive: true, force: true }))
  contract(() => ({ folder, heartbeat: HEARTBEAT, storages: { nas: { parallel: 1 } } }))
})

describe('a fleet, on PostgreSQL', needsPostgres(), () => {
  let cluster: Cluster
  before(async () => {
    cluster = await startPostgres()
  })
  after(() => cluster?.stop())
  contract(() => ({ database: cluster.url, folder: '/', heartbeat: HEARTBEAT, storages: { nas: { parallel: 1 } } }))
})

/** What holds on either database. Each test has hosts and guests of its own. */
function contract(options: () => FleetOptions): void {
  let fleet: Fleet
  const beating: AgentOfTest[] = []
  let timer: NodeJS.Timeout

  before(async () => {
    fleet = await openFleet(options())
    // Agents of a test beat by themselves, until the test stops one.
    timer = setInterval(() => {
      for (const agent of beating) agent.beat().catch(() => {})
    }, HEARTBEAT / 2)
  })
  after(async () => {
    clearInterval(timer)
    await fleet?.close()
  })

  async function host(name: string, parts: HostOfTest): Promise<AgentOfTest> {
    const agent = new AgentOfTest(fleet, name, parts)
    await agent.begin()
    beating.push(agent)
    return agent
  }
  const silence = (agent: AgentOfTest) => beating.splice(beating.indexOf(agent), 1)
  const one = async (id: string): Promise<WorkRow> =>
    (await fleet.people.works({ most: 10_000 })).find((work) => work.id === id)!

  test('a host whose clock is behind backs up at once what is asked for, and what its schedule says when its own clock is there', async () => {
    const behind = 600_000
    const clock = () => Date.now() - behind
    const agent = await host('late1', { guests: ['late1-web'], clock })
    const [id] = await fleet.people.start({ job: 'nightly', host: 'late1' })
    const [work] = await agent.work()
    assert.equal(work.id, id)
    assert.ok(Date.parse((work as { due: string }).due) <= clock(), 'its archive is not of the future of the host')
    await agent.end(work)
    const due = Math.ceil(Date.now() / 1000) * 1000
    agent.options = { ...agent.options, jobs: [{ next: [new Date(due).toISOString()] }] }
    await agent.inventory()
    let waiting: WorkRow | undefined
    for (let attempt = 0; attempt < 200 && waiting === undefined; attempt++) {
      waiting = (await fleet.people.status()).waiting.find(({ guest }) => guest === 'late1-web')
      await sleep(50)
    }
    assert.ok(waiting !== undefined, 'its work waits')
    assert.match(waiting.reason!, /^the clock of host late1 has not come to .*Z yet$/)
    await fleet.people.cancel(waiting.id, 'enough')
  })

  test('a work that is asked for is given to the poll that waits, at once, and ends by the event', async () => {
    const agent = await host('a1', { guests: ['a1-web'] })
    const polled = agent.work()
    await sleep(20)
    const [id] = await fleet.people.start({ host: 'a1', job: 'nightly' })
    const [work] = await polled
    const asked = { id, attempt: 1, kind: 'run', job: 'nightly', guest: 'a1-web', due: '', now: true }
    assert.deepEqual({ ...work, due: '' }, asked)
    assert.equal((await one(id)).state, 'running')
    // Nothing is given twice.
    assert.deepEqual(await agent.work({ wait: 50 }), [])
    const ended = agent.ended(work, { report: { guest: 'a1-web', stored: 5 } })
    assert.deepEqual(await agent.tell(ended), [ended.id])
    assert.deepEqual(await agent.tell(ended), [ended.id])
    const row = await one(id)
    assert.deepEqual([row.state, row.report], ['done', { guest: 'a1-web', stored: 5 }])
    const [guest] = (await fleet.people.guests()).filter(({ host }) => host === 'a1')
    assert.equal(guest.state, 'good')
    assert.ok(guest.lastGood)
  })

  test('when a time of a job has come, each of its guests is backed up, the one without a backup first', async () => {
    const next = new Date(Date.now() + 300).toISOString()
    const agent = await host('b1', { guests: ['b1-x', 'b1-y'], parallel: 1, jobs: [{ next: [next] }] })
    const [first] = await agent.work({ wait: 8000 })
    assert.ok(first.kind === 'run')
    assert.equal(first.due, next)
    const [waiting] = (await fleet.people.status()).waiting.filter(({ host }) => host === 'b1')
    assert.match(waiting.reason!, /host b1/)
    await agent.end(first)
    const [second] = await agent.work({ wait: 8000 })
    await agent.end(second)
    assert.deepEqual(
      new Set([first, second].map((work) => work.kind === 'run' && work.guest)),
      new Set(['b1-x', 'b1-y']),
    )
    assert.deepEqual(await agent.work({ wait: 1500 }), [])
  })

  test('a storage takes as many guests as it may, from all hosts', async () => {
    const places = [{ place: '/mnt/nas', storage: 'nas', parallel: null }]
    const c1 = await host('c1', { guests: ['c1-a'], jobs: [{ name: 'to-nas', places }] })
    const c2 = await host('c2', { guests: ['c2-a'], jobs: [{ name: 'to-nas', places }] })
    await fleet.people.start({ job: 'to-nas' })
    const given = [...(await c1.work({ wait: 2000 })), ...(await c2.work({ wait: 2000 }))]
    assert.equal(given.length, 1)
    const [first, second] = given[0].kind === 'run' && given[0].guest === 'c1-a' ? [c1, c2] : [c2, c1]
    await first.end(given[0])
    const next = await second.work()
    assert.equal(next.length, 1)
    await second.end(next[0])
  })

  test('a host that is silent for three heartbeats is gone: its guests are unprotected, and its work is tried again when it is back', async () => {
    const agent = await host('d1', { guests: ['d1-web'] })
    const [id] = await fleet.people.start({ host: 'd1', job: 'nightly' })
    assert.equal((await agent.work()).length, 1)
    silence(agent)
    await until(async () => (await fleet.people.hosts()).find(({ host }) => host === 'd1')!.state === 'gone')
    assert.equal((await one(id)).state, 'waiting')
    assert.match((await one(id)).reason!, /gone/)
    const [guest] = (await fleet.people.guests()).filter(({ host }) => host === 'd1')
    assert.equal(guest.state, 'unprotected')
    // It was only cut off: what it runs is still this work, and not begun a second time.
    await agent.beat()
    assert.equal((await one(id)).state, 'running')
    beating.push(agent)
    await agent.end({ id, attempt: 1, kind: 'run', job: 'nightly', guest: 'd1-web', due: '' })
    assert.equal((await one(id)).state, 'done')
  })

  test('what an agent ran before it was started again has died, and is given again with a higher attempt', async () => {
    const agent = await host('e1', { guests: ['e1-web'] })
    const [id] = await fleet.people.start({ host: 'e1', job: 'nightly' })
    await agent.work()
    agent.incarnation = 'second'
    agent.running = []
    await agent.begin()
    const row = await one(id)
    assert.equal(row.state, 'waiting')
    assert.match(row.reason!, /started again/)
    await fleet.people.cancel(id, 'enough')
    assert.equal((await one(id)).state, 'canceled')
  })

  test('an agent cannot end the work of another, nor make its guests look good', async () => {
    const owner = await host('f1', { guests: ['f1-web'] })
    const liar = await host('f2', { guests: ['f1-web', 'f2-web'] })
    const [id] = await fleet.people.start({ host: 'f1', job: 'nightly' })
    const [work] = await owner.work()
    await liar.tell(liar.ended(work))
    assert.equal((await one(id)).state, 'running')
    await liar.tell(endedEvent({ guest: 'f1-web' }))
    await liar.tell({
      ...{ id: '1', event: 'archives', at: new Date().toISOString(), job: 'nightly', place: '/x', guest: 'f1-web' },
      archives: [archive('f1-web')],
    })
    const [guest] = (await fleet.people.guests()).filter(({ name }) => name === 'f1-web')
    assert.deepEqual([guest.host, guest.lastGood], ['f1', null])
    assert.match(guest.problem!, /f2/)
    assert.deepEqual(await fleet.people.archives({ guest: 'f1-web' }), [])
    assert.ok((await fleet.people.status()).problems.some((problem) => problem.includes('f2 told of a work of f1')))
    await owner.end(work)
  })

  test('an agent that says it runs the guests of another keeps none of them from its backup', async () => {
    const owner = await host('f3', { guests: ['f3-web', 'f3-own'] })
    const liar = await host('f4', { guests: ['f4-web'] })
    const since = new Date().toISOString()
    const claim = (guest: string, id: string | null) => ({
      ...{ id, job: 'nightly', guest, since, places: [], progress: null },
    })
    liar.running = ['f3-web', 'f3-own'].map((guest) => claim(guest, null)).concat(claim('f3-web', 'made-up'))
    await liar.beat()
    await liar.beat()
    // What the owner says of its own guests counts still.
    owner.running = [claim('f3-own', null)]
    await owner.beat()
    await fleet.people.start({ host: 'f3', job: 'nightly' })
    const works = await owner.work()
    assert.deepEqual(
      works.map((work) => work.kind === 'run' && work.guest),
      ['f3-web'],
    )
    await owner.end(works[0])
    liar.running = []
    owner.running = []
    await liar.beat()
  })

  test('a guest that another host reports, while its own is gone, has moved, and its work with it', async () => {
    const from = await host('g1', { guests: ['g-web'] })
    await fleet.people.drain('g1', true)
    const [id] = await fleet.people.start({ host: 'g1', job: 'nightly' })
    silence(from)
    await until(async () => (await fleet.people.hosts()).find(({ host }) => host === 'g1')!.state === 'gone')
    const to = await host('g2', { guests: ['g-web'] })
    const [work] = await to.work()
    assert.equal(work.id, id)
    await to.end(work)
    assert.equal((await one(id)).host, 'g2')
    assert.equal((await one(id)).state, 'done')
    await fleet.people.forgetHost('g1')
    await assert.rejects(fleet.people.drain('g1', false), { code: 'USAGE' })
  })

  test('verify, prune and report need no slot; cancel reaches the host with what it is to end', async () => {
    const agent = await host('h1', { guests: ['h1-web'], parallel: 1 })
    await fleet.people.start({ host: 'h1', job: 'nightly' })
    const [run] = await agent.work({ free: 1 })
    await fleet.people.verify({ host: 'h1', job: 'nightly', archive: '/srv/backup/x.vma', boot: true })
    await fleet.people.prune({ host: 'h1', job: 'nightly', guest: 'h1-web' })
    await fleet.people.cancel(run.id, 'not now')
    const asked = await agent.work({ free: 0 })
    assert.deepEqual(asked.map(({ kind }) => kind).sort(), ['cancel', 'prune', 'verify'])
    for (const work of asked) await agent.end(work)
    await agent.end(run, { outcome: 'canceled', report: { reason: 'canceled by a person' } })
    const row = await one(run.id)
    assert.deepEqual([row.state, row.reason], ['canceled', 'canceled by a person'])
    assert.equal((await fleet.people.status()).running.filter(({ host }) => host === 'h1').length, 0)
  })

  test('a rescan builds the archives anew from what hosts tell', async () => {
    const agent = await host('i1', { guests: ['i1-web'] })
    const told = (archives: object[]) => ({
      ...{
        id: '1',
        event: 'archives',
        at: new Date().toISOString(),
        job: 'nightly',
        place: '/srv/backup',
        guest: 'i1-web',
        archives,
      },
    })
    await agent.tell(told([archive('i1-web')]))
    assert.equal((await fleet.people.archives({ guest: 'i1-web' })).length, 1)
    const [guest] = (await fleet.people.guests()).filter(({ host }) => host === 'i1')
    assert.equal(guest.lastGood, new Date(1_700_000_000_000).toISOString())
    await fleet.people.rescan()
    assert.deepEqual(await fleet.people.archives({ guest: 'i1-web' }), [])
    const [report] = await agent.work({ free: 0 })
    assert.deepEqual([report.kind, report.kind === 'report' && report.archives], ['report', true])
    await agent.tell(told([archive('i1-web')]), agent.ended(report))
    assert.equal((await fleet.people.archives({ host: 'i1' })).length, 1)
  })

  test('a token is for one host, and is nothing once it is revoked; its patterns limit what the host may claim', async () => {
    const { id, text } = await fleet.tokens.make({ name: 'j1', kind: 'agent', guests: ['j1-*'] })
    assert.equal((await fleet.tokens.check(text))!.name, 'j1')
    assert.equal((await fleet.people.hosts()).find(({ host }) => host === 'j1')!.state, 'never')
    await host('j1', { guests: ['j1-web', 'other'] })
    assert.deepEqual(
      (await fleet.people.guests()).filter(({ host }) => host === 'j1').map(({ name }) => name),
      ['j1-web'],
    )
    for (const wrong of ['', 'x', `${text}x`, text.replace(id, 'nobody')])
      assert.equal(await fleet.tokens.check(wrong), null)
    await fleet.tokens.revoke(id)
    assert.equal(await fleet.tokens.check(text), null)
    assert.ok((await fleet.tokens.list()).find((token) => token.id === id)!.revoked)
    await assert.rejects(fleet.tokens.revoke('nobody'), { code: 'USAGE' })
  })

  test('central jobs are checked, and given to the hosts that have their labels', async () => {
    const agent = await host('k1', { guests: [], labels: ['rack-1'] })
    const text = 'hosts: [rack-1]\nguests: [{ libvirt: "*" }]\nto: [{ place: /srv/backup }]\n'
    await assert.rejects(fleet.people.putCentralJob('evil', `${text}hooks: { before: "rm -rf /" }\n`), {
      code: 'CONFIG',
    })
    await fleet.people.putCentralJob('central', text)
    assert.equal((await agent.beat()).jobsChanged, true)
    const { central } = await agent.inventory()
    assert.deepEqual(
      central.map(({ name }) => name),
      ['central'],
    )
    assert.equal((await fleet.agents.centralJob('k1', 'central'))!.text, text)
    await host('k2', { guests: [] })
    assert.equal(await fleet.agents.centralJob('k2', 'central'), null)
    assert.deepEqual(
      (await fleet.people.centralJobs()).map(({ hosts }) => hosts),
      [['k1']],
    )
    await fleet.people.removeCentralJob('central')
    assert.deepEqual((await agent.inventory()).central, [])
  })

  test('words of another version are taken as far as they are known', async () => {
    const agent = await host('l1', { guests: ['l1-web'] })
    assert.equal((await agent.hello(99)).protocol, 1)
    await assert.rejects(agent.hello(0), { code: 'USAGE' })
    const known = { ...endedEvent({ guest: 'l1-web' }), colour: 'blue' }
    const unknown = { id: 'new-1', at: 'whenever', event: 'sang', song: 'la' }
    assert.deepEqual(new Set(await agent.tell(known, unknown)), new Set([known.id, 'new-1']))
    const [row] = await fleet.people.works({ guest: 'l1-web', most: 5 })
    assert.equal(row.state, 'done')
  })

  test('a run is summed up as its backups end', async () => {
    const agent = await host('sum', { guests: ['sum-a', 'sum-b'] })
    const since = new Date(Date.now() - 60_000).toISOString()
    const run = async () => (await fleet.people.runs({ host: 'sum', since }))[0]
    assert.equal(await run(), undefined)
    await fleet.people.start({ job: 'nightly', host: 'sum' })
    for (const report of [{ stored: 5 }, { stored: 'much' }]) {
      const [work] = await agent.work({ free: 1 })
      await agent.end(work, { report })
    }
    const { done, failed, stored } = await run()
    assert.deepEqual({ done, failed, stored }, { done: 2, failed: 0, stored: 5 })
  })

  test('who watches is told, and hosts are asked for progress only then', async () => {
    const agent = await host('m1', { guests: ['m1-web'] })
    assert.equal((await agent.beat()).closer, false)
    let told = 0
    const stop = fleet.people.watch(() => {
      told += 1
    })
    assert.equal((await agent.beat()).closer, true)
    agent.running = [{ id: null, job: 'nightly', guest: 'm1-web', since: new Date().toISOString(), ...NO_PLACES }]
    const begun = performance.now()
    for (let n = 0; n < 50; n++) await agent.beat()
    await until(async () => told >= 1)
    // With a pause of a quarter of a second after each time.
    const most = 2 + (performance.now() - begun) / 250
    assert.ok(told <= Math.min(most, 50), `${told} times, ${most} at most`)
    agent.running = []
    stop()
    assert.equal((await agent.beat()).closer, false)
  })

  test('what a host runs by its own schedule counts, and is not done again', async () => {
    const due = new Date(Date.now() + 1500)
    const agent = await host('n1', { guests: ['n1-web'], parallel: 1, jobs: [{ next: [due.toISOString()] }] })
    agent.running = [
      {
        id: null,
        job: 'nightly',
        guest: 'n1-web',
        since: new Date().toISOString(),
        places: ['/srv/backup'],
        progress: null,
      },
    ]
    await agent.beat()
    assert.equal((await fleet.people.hosts()).find(({ host }) => host === 'n1')!.running, 1)
    await until(async () => (await fleet.people.status()).waiting.some(({ host }) => host === 'n1'))
    agent.running = []
    await agent.tell(endedEvent({ guest: 'n1-web', started: new Date(due.getTime() + 10).toISOString() }))
    await agent.beat()
    assert.deepEqual(await agent.work({ wait: 1500 }), [])
  })
}

function archive(guest: string) {
  return {
    ...{
      place: '/srv/backup',
      name: 'x.vma',
      guest,
      uuid: '1',
      ctime: 1_700_000_000,
      kind: 'full',
      parent: null,
      size: 1,
    },
    ...{ encrypted: false, protected: false, notes: null, checks: [] },
  }
}

async function until(true_: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 1200; attempt++) {
    if (await true_()) return
    await sleep(50)
  }
  throw new Error('it did not come to be')
}
