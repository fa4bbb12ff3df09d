import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FLEET_TOPICS } from '../../../src/fleet/fleet.ts'
import { until } from '../../storage/archive/processes.ts'
import { rawConnection, served } from './served.ts'

const limits = { timeout: 60_000 }
const RUN = { id: 'w1', attempt: 1, kind: 'run', job: 'nightly', guest: 'web', due: '2026-11-29T00:00:00Z' } as const

describe('a server that stops', limits, () => {
  test('answers those who wait for work with none, and closes all connections', async (t) => {
    const { ask, fleet, server, port } = await served(t)
    const waiting = ask('/agent/v1/work', { body: { free: 1, wait: 60_000 } })
    const idle = await rawConnection(port)
    await until(() => fleet.waiting.has('h1'), 'the agent waits')
    await server.stop()
    assert.deepEqual((await waiting).json, { works: [] })
    await idle.closed
    await assert.rejects(ask('/agent/v1/hello'), { code: 'ECONNREFUSED' })
  })

  test('gives away works that it was just given, and waits for nobody who is stuck', async (t) => {
    const { ask, fleet, server } = await served(t)
    const other = fleet.token('h2', 'agent')
    fleet.agents.work = (host, _, signal) =>
      new Promise((resolve) => {
        fleet.waiting.set(host, resolve)
        // It was given a work in the same moment, or it is stuck.
        if (host === 'h1') signal.addEventListener('abort', () => resolve([RUN]), { once: true })
      })
    const [first, stuck] = [null, other].map((token) =>
      ask('/agent/v1/work', { body: { free: 1, wait: 60_000 }, ...(token !== null && { token }) }),
    )
    await until(() => fleet.waiting.size === 2, 'both wait')
    await server.stop()
    assert.deepEqual((await first).json, { works: [RUN] })
    assert.deepEqual((await stuck).json, { works: [] })
  })

  test('ends those who watch', async (t) => {
    const { ask, fleet, server } = await served(t)
    const watching = ask('/people/v1/watch')
    await until(() => fleet.watchers.size === 1, 'somebody watches')
    await server.stop()
    const { at, ...told } = JSON.parse((await watching).text)
    assert.equal(typeof at, 'number')
    assert.deepEqual(told, { changed: FLEET_TOPICS })
    assert.equal(fleet.watchers.size, 0)
  })
})
