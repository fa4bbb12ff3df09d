import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetTopic } from '../../../src/fleet/fleet.ts'
import { openFleet } from '../../../src/fleet/service/open.ts'
import { systemClock } from '../../../src/jobs/clock.ts'
import { AgentOfTest } from './agent-of-test.ts'
import { until } from './opened.ts'

describe('who looks at a fleet is told what has changed', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
  let ahead = 0
  let fleet: Awaited<ReturnType<typeof openFleet>>
  before(async () => {
    // Hosts of this test do not fall silent, however slow the machine is.
    const clock = { ...systemClock, now: () => Date.now() + ahead }
    fleet = await openFleet({ folder, clock, heartbeat: 3_600_000 })
  })
  after(async () => {
    await fleet?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** All that is told while `act` is done, and in the pause after it. */
  async function told(act: () => Promise<unknown>): Promise<FleetTopic[]> {
    const all = new Set<FleetTopic>()
    const stop = fleet.people.watch((topics) => {
      for (const topic of topics) all.add(topic)
    })
    await act()
    // What is told more than four times a second is told a moment later.
    await sleep(600)
    stop()
    return [...all].sort()
  }

  async function host(name: string, guests: string[], promise: number | null = null) {
    const agent = new AgentOfTest(fleet, name, { guests, jobs: [{ promise }], clock: () => Date.now() + ahead })
    await agent.begin()
    return agent
  }

  test('a heartbeat alone is no change; with what runs it is one of that', async () => {
    const agent = await host('a1', ['a1-web'])
    assert.deepEqual(await told(() => Promise.all([agent.beat(), agent.beat(), agent.inventory()])), ['now'])
    assert.deepEqual(await told(() => agent.beat()), [])
    agent.running = [
      ...[{ id: null, job: 'nightly', guest: 'a1-web', since: new Date().toISOString(), places: [], progress: null }],
    ]
    assert.deepEqual(await told(() => agent.beat()), ['hosts', 'now'], 'one more runs on the host')
    assert.deepEqual(await told(() => agent.beat()), ['now'])
    agent.running = []
    assert.deepEqual(await told(() => agent.beat()), ['hosts', 'now'])
    agent.options.clock = undefined
    assert.deepEqual(await told(() => agent.beat()), [])
  })

  test('a backup from its start to its end, and its archive', async () => {
    const agent = await host('b1', ['b1-web'])
    assert.deepEqual(await told(() => fleet.people.start({ job: 'nightly', host: 'b1' })), ['now'])
    let works: Awaited<ReturnType<AgentOfTest['work']>> = []
    assert.deepEqual(
      await told(async () => {
        works = await agent.work()
      }),
      ['hosts', 'now'],
    )
    assert.deepEqual(await told(() => agent.end(works[0])), ['guests', 'hosts', 'jobs', 'now'])
    const archives = { id: 'e1', at: new Date().toISOString(), event: 'archives', job: 'nightly', guest: 'b1-web' }
    const found = { ...archives, place: '/srv/backup', archives: [] }
    assert.deepEqual(await told(() => agent.tell(found)), ['archives', 'guests', 'now'])
  })

  test('hosts that are drained or have a token, and what the jobs of one have become', async () => {
    const agent = await host('c1', ['c1-web'])
    assert.deepEqual(await told(() => fleet.people.drain('c1', true)), ['hosts', 'now'])
    assert.deepEqual(await told(() => fleet.tokens.make({ name: 'c2', kind: 'agent' })), ['hosts'])
    agent.options.jobs = [{ description: 'each night' }]
    assert.deepEqual(await told(() => agent.inventory()), ['guests', 'hosts', 'jobs', 'now'])
    assert.deepEqual(await told(() => fleet.people.rescan()), ['archives', 'now'])
  })

  test('what a host tells again as it was makes no row anew', async () => {
    const agent = await host('e1', ['e1-web', 'e1-db'])
    const before = await fleet.people.guests()
    await agent.inventory()
    assert.equal(await fleet.people.guests(), before)
    agent.options.guests.push('e1-new')
    await agent.inventory()
    assert.equal((await fleet.people.guests()).length, before.length + 1)
  })

  test('a guest that has become late while nothing happened', async () => {
    const agent = await host('d1', ['d1-web'], 3600)
    await fleet.people.start({ job: 'nightly', host: 'd1' })
    const [work] = await agent.work()
    await agent.end(work)
    const state = async () => (await fleet.people.guests()).find(({ name }) => name === 'd1-web')!.state
    assert.equal(await state(), 'good')
    let isTold = false
    const stop = fleet.people.watch((topics) => {
      isTold ||= topics.has('guests')
    })
    ahead += 3_700_000
    await until(async () => isTold)
    stop()
    assert.equal(await state(), 'late')
    assert.deepEqual(await told(() => agent.beat()), [])
  })
})
