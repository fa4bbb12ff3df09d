import assert from 'node:assert/strict'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { WrongTokens } from '../../../src/fleet/server/wrong-tokens.ts'
import { tmpDir } from '../../support/tmp.ts'
import { ask as askAt, HELLO, served } from './served.ts'

const limits = { timeout: 60_000 }

const AGENT: [method: string, path: string][] = [
  ['POST', '/agent/v1/hello'],
  ['POST', '/agent/v1/inventory'],
  ['POST', '/agent/v1/beat'],
  ['POST', '/agent/v1/work'],
  ['POST', '/agent/v1/events'],
  ['GET', '/agent/v1/jobs/nightly'],
  ['GET', '/agent/v1/nothing'],
]
const PEOPLE: [method: string, path: string][] = [
  ...['status', 'hosts', 'guests', 'jobs', 'works', 'archives', 'watch', 'central', 'tokens'].map(
    (name) => ['GET', `/people/v1/${name}`] as [string, string],
  ),
  ...['start', 'verify', 'prune', 'cancel', 'rescan', 'tokens', 'hosts/h1/drain'].map(
    (name) => ['POST', `/people/v1/${name}`] as [string, string],
  ),
  ['PUT', '/people/v1/central/x'],
  ['DELETE', '/people/v1/central/x'],
  ['DELETE', '/people/v1/hosts/h1'],
  ['DELETE', '/people/v1/tokens/x'],
  ['GET', '/people/v1/nothing'],
]

describe('tokens', limits, () => {
  test('are needed for every address: none opens nothing, and one of the other kind opens nothing', async (t) => {
    const { ask, fleet, agent, person } = await served(t)
    for (const [routes, other] of [
      [AGENT, person],
      [PEOPLE, agent],
    ] as const) {
      for (const [method, path] of routes) {
        const answer = await ask(path, { method, token: other })
        assert.deepEqual([answer.status, answer.json?.error?.slice(0, 17)], [403, 'this token is for'], path)
      }
    }
    const { ask: askAgain } = await served(t)
    for (const [method, path] of [...AGENT, ...PEOPLE].slice(0, 9)) {
      const answer = await askAgain(path, { method, token: null })
      assert.deepEqual([answer.status, answer.json.error], [401, 'a token is needed'], path)
    }
    assert.ok(fleet.calls.every(({ name }) => name === 'tokens.check'))
  })

  test('are checked before the body is read, and all wrong ones in the same way', async (t) => {
    const { fleet, port } = await served(t)
    const texts = ['', 'x', 'vmapipe.abc.def', `vmapipe.${'a'.repeat(5000)}`]
    for (const token of texts) {
      const headers = { authorization: `Bearer ${token}`, 'content-length': '1000000' }
      const answer = await askAt(port, '/agent/v1/hello', { method: 'POST', headers, body: Buffer.alloc(1_000_000) })
      assert.equal(answer.status, 401)
      assert.equal(answer.headers.connection, 'close')
    }
    assert.deepEqual(
      fleet.calls.map(({ name, args }) => [name, (args[0] as string).length <= 500]),
      texts.map(() => ['tokens.check', true]),
    )
  })

  test('that are wrong ten times in a row are not looked at for a while; agents of the same address are', async (t) => {
    const { ask, fleet, agent } = await served(t)
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 200)
    for (let time = 0; time < 10; time++) {
      assert.equal((await ask('/agent/v1/hello', { body: HELLO, token: `wrong${time}` })).status, 401)
    }
    const before = fleet.calls.length
    const refused = await ask('/agent/v1/hello', { body: HELLO, token: 'wrong' })
    assert.equal(refused.status, 429)
    assert.ok(Number(refused.headers['retry-after']) >= 1)
    assert.equal(fleet.calls.length, before, 'it was not looked at')
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 200)
    // The token was right before, so it is looked at; now it is revoked.
    fleet.known.delete(agent)
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 401)
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 429)
  })

  test('that are wrong are forgiven with time, and made-up addresses fill no memory', () => {
    let now = 0
    const wrong = new WrongTokens(() => now)
    for (let time = 0; time < 10; time++) {
      assert.equal(wrong.wait('a', 'x'), 0)
      wrong.wrong('a', 'x')
    }
    assert.equal(wrong.wait('a', 'x'), 6)
    assert.equal(wrong.wait('b', 'x'), 0)
    now += 6000
    assert.equal(wrong.wait('a', 'x'), 0)
    for (let address = 0; address < 20_000; address++) wrong.wrong(`made up ${address}`, 'x')
    assert.equal(wrong.wait('a', 'x'), 0, 'it was forgotten')
  })

  test('of an agent may ask for sixteen things at once', async (t) => {
    const { ask, fleet } = await served(t)
    const gone = new AbortController()
    const body = { free: 1, wait: 60_000 }
    const polls = Array.from({ length: 16 }, () =>
      ask('/agent/v1/work', { body, signal: gone.signal }).catch(() => null),
    )
    while (fleet.calls.filter(({ name }) => name === 'agents.work').length < 16) await new Promise(setImmediate)
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 429)
    const other = fleet.token('h2', 'agent')
    assert.equal((await ask('/agent/v1/hello', { body: HELLO, token: other })).status, 200)
    gone.abort()
    await Promise.all(polls)
    while ((await ask('/agent/v1/hello', { body: HELLO })).status === 429) await new Promise(setImmediate)
  })
})

describe('the socket of the owner', limits, () => {
  test('needs no token for what people ask, is its owner’s alone, and opens nothing of agents', async (t) => {
    const socket = join(tmpDir(t), 'fleet.sock')
    const { fleet, server } = await served(t, { socket })
    assert.equal(statSync(socket).mode & 0o777, 0o600)
    const status = await askAt(0, '/people/v1/status', { socketPath: socket })
    assert.deepEqual([status.status, status.json], [200, fleet.answers['people.status']])
    assert.equal((await askAt(0, '/agent/v1/hello', { socketPath: socket, body: HELLO })).status, 401)
    await server.stop()
    assert.ok(!existsSync(socket))
  })

  test('is not taken from a planner that runs', async (t) => {
    const socket = join(tmpDir(t), 'fleet.sock')
    await served(t, { socket })
    await assert.rejects(served(t, { socket }), /another server listens on this socket already/)
  })
})
