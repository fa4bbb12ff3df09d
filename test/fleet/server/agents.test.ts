import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { until } from '../../storage/archive/processes.ts'
import { HELLO, INVENTORY, served } from './served.ts'

const limits = { timeout: 60_000 }
const RUN = { id: 'w1', attempt: 1, kind: 'run', job: 'nightly', guest: 'web', due: '2026-11-29T00:00:00Z' } as const

describe('agents', limits, () => {
  test('say hello, what they have and how they are; the host is that of the token', async (t) => {
    const { ask, fleet } = await served(t)
    const hello = await ask('/agent/v1/hello', { body: { ...HELLO, host: 'h2', new: 'of a newer version' } })
    assert.deepEqual([hello.status, hello.json], [200, fleet.answers['agents.hello']])
    assert.equal((await ask('/agent/v1/inventory', { body: INVENTORY })).status, 200)
    const beat = { incarnation: 'one', clock: 1, running: [] }
    assert.deepEqual((await ask('/agent/v1/beat', { body: beat })).json, fleet.answers['agents.beat'])
    const asked = fleet.calls.filter(({ name }) => name.startsWith('agents.'))
    assert.deepEqual(asked, [
      { name: 'agents.hello', args: ['h1', HELLO] },
      { name: 'agents.inventory', args: ['h1', INVENTORY] },
      { name: 'agents.beat', args: ['h1', beat] },
    ])
  })

  test('get the text of a central job, or 404', async (t) => {
    const { ask, fleet } = await served(t)
    assert.equal((await ask('/agent/v1/jobs/none')).status, 404)
    const job = { name: 'nightly', digest: 'abc', text: 'guests: …' }
    fleet.answers['agents.centralJob'] = job
    assert.deepEqual((await ask('/agent/v1/jobs/nightly')).json, job)
    const before = fleet.calls.length
    for (const name of ['..%2f..%2fetc', '%00', '-x', '%e0%a4%a']) {
      assert.equal((await ask(`/agent/v1/jobs/${name}`)).status, 404, name)
    }
    assert.ok(fleet.calls.slice(before).every(({ name }) => name === 'tokens.check'))
  })

  test('wait for work, and get it as soon as there is some', async (t) => {
    const { ask, fleet } = await served(t)
    const waiting = ask('/agent/v1/work', { body: { free: 1, wait: 60_000 } })
    await until(() => fleet.waiting.has('h1'), 'the agent waits')
    fleet.give('h1', [RUN])
    assert.deepEqual((await waiting).json, { works: [RUN] })
    assert.deepEqual((await ask('/agent/v1/work', { body: { free: 1, wait: 1 } })).json, { works: [] })
  })

  test('that go away while they wait, wait no longer', async (t) => {
    const { ask, fleet } = await served(t)
    const gone = new AbortController()
    const waiting = ask('/agent/v1/work', { body: { free: 1, wait: 60_000 }, signal: gone.signal })
    await until(() => fleet.waiting.has('h1'), 'the agent waits')
    gone.abort()
    await assert.rejects(waiting)
    await until(() => fleet.calls.some(({ name }) => name === 'aborted'), 'the fleet knows')
    assert.equal(fleet.waiting.size, 0)
  })

  test('are told in one line what is wrong with a message', async (t) => {
    const { ask, fleet } = await served(t)
    const cases: [path: string, body: unknown, error: RegExp][] = [
      ['hello', { ...HELLO, parallel: 'two' }, /^parallel: expected a number, got "two"$/],
      ['hello', { ...HELLO, labels: ['a', '!'] }, /^labels\[1\]: /],
      ['hello', [], /^expected a map of options, got a list$/],
      ['hello', null, /^expected a map of options, got null$/],
      ['inventory', { ...INVENTORY, guests: [{ name: 7 }] }, /^guests\[0\]\.name: expected text, got 7$/],
      ['beat', {}, /^incarnation: is missing$/],
      ['work', { free: 1, wait: 60_001 }, /^wait: expected at most 60000, got 60001$/],
      ['events', { events: {} }, /^events: expected a list, got a map$/],
    ]
    for (const [path, body, error] of cases) {
      const answer = await ask(`/agent/v1/${path}`, { body })
      assert.equal(answer.status, 400, answer.text)
      assert.match(answer.json.error, error)
    }
    assert.ok(fleet.calls.every(({ name }) => name === 'tokens.check'))
  })

  test('are told what the fleet says: a version that is too old, a database that is away, and no more of a mistake', async (t) => {
    const { ask, fleet, warnings } = await served(t)
    fleet.answers['agents.hello'] = new VmapipeError('USAGE', 'protocol 1 is too old', { hint: 'update vmapipe' })
    const old = await ask('/agent/v1/hello', { body: HELLO })
    assert.deepEqual(
      [old.status, old.json],
      [400, { error: 'protocol 1 is too old', hint: 'update vmapipe', code: 'USAGE' }],
    )
    fleet.answers['agents.hello'] = new VmapipeError('FAILED', 'the database is away')
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 503)
    fleet.answers['agents.hello'] = new TypeError('password=secret is undefined')
    const mistake = await ask('/agent/v1/hello', { body: HELLO })
    assert.equal(mistake.status, 500)
    assert.doesNotMatch(mistake.text, /secret/)
    assert.match(warnings.at(-1)!, /mistake in vmapipe: password=secret/)
  })

  test('tell events; those of kinds that nobody knows are taken too, as they would come for ever', async (t) => {
    const { ask, fleet, warnings } = await served(t)
    fleet.answers['agents.events'] = ['e1']
    const finished = { id: 'e1', at: '2026-11-29T00:00:00Z', event: 'finished', work: 'w1', outcome: 'done', text: '' }
    const all = [finished, { id: 'e2', event: 'dream' }, 7, { id: 'e3', event: 'finished', work: '../' }]
    const answer = await ask('/agent/v1/events', { body: { events: all } })
    assert.deepEqual(answer.json, { taken: ['e1', 'e2', 'e3'] })
    assert.deepEqual(fleet.calls.at(-1), { name: 'agents.events', args: ['h1', [finished]] })
    assert.match(warnings[0], /^3 events of h1/)
  })
})
