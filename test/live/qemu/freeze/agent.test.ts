import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentOptions, GuestAgent, StillFrozenError, withFrozen } from '../../../../src/live/qemu/freeze/agent.ts'
import { lateness } from '../../../support/lateness.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { FakeAgent, type FakeAgentOptions } from './fake-agent.ts'

const timeout = 60_000
/** For an agent that hangs on purpose, and still answers before that in time on a busy machine. One that does not hang has the usual times. */
const TIMES = { answer: 1000, freeze: 1000 }
/** How long they may be frozen where that is to be exceeded. */
const LIMIT = 300

async function connected(t: { after(hook: () => void): void }, options?: FakeAgentOptions, times: AgentOptions = {}) {
  const fake = new FakeAgent(options)
  const agent = await GuestAgent.connect(await fake.listen(t), times)
  t.after(() => agent.close())
  return { fake, agent }
}

/** A promise that fails with what it should not have done. */
const neverRun = async () => assert.fail('the action ran')

describe('filesystems', { concurrency: true }, () => {
  test('are frozen while the action runs, and thawed after it', { timeout }, async (t) => {
    const { fake, agent } = await connected(t, { stale: '{"return": "old"}\n' })
    const value = await withFrozen(agent, async () => {
      assert.equal(fake.frozen, true)
      return 42
    })
    assert.equal(value, 42)
    assert.equal(fake.frozen, false)
    const expected = ['sync-delimited', 'fsfreeze-status', 'fsfreeze-freeze', 'fsfreeze-thaw']
    assert.deepEqual(
      fake.commands,
      expected.map((command) => `0 guest-${command}`),
    )
  })

  test('are thawed when the action fails, whose error it is', { timeout }, async (t) => {
    const { fake, agent } = await connected(t)
    const wrong = new Error('the drive refuses')
    await assert.rejects(
      withFrozen(agent, () => Promise.reject(wrong)),
      wrong,
    )
    assert.equal(fake.frozen, false)
  })

  test('are thawed when their time is over, and the action has failed then', { timeout }, async (t) => {
    const { fake, agent } = await connected(t, {}, { limit: LIMIT })
    const frozen = withFrozen(agent, async () => {
      assert.equal(fake.frozen, true)
      while (fake.frozen) await sleep(20)
    })
    await assert.rejects(frozen, { code: 'FAILED', message: /thawed after 0\.3 s, before the point in time/ })
  })

  test('are thawed when the freeze fails, or only seems to', { timeout }, async (t) => {
    for (const failure of [{ error: 'cannot freeze /mnt' }, { return: 'yes' }, 'hang', 'hang up'] as const) {
      const fake = new FakeAgent({
        answer: (command) => {
          if (command !== 'guest-fsfreeze-freeze') return undefined
          fake.frozen = true
          return failure
        },
      })
      const agent = await GuestAgent.connect(await fake.listen(t), TIMES)
      const why = typeof failure === 'string' ? (failure === 'hang' ? /no answer to/ : /closed/) : /freeze|no number/
      await assert.rejects(withFrozen(agent, neverRun), why)
      assert.equal(fake.frozen, false, JSON.stringify(failure))
      agent.close()
    }
  })

  test('are thawed by a second connection, where the first is dead', { timeout }, async (t) => {
    for (const failure of ['hang', 'hang up'] as const) {
      const options: FakeAgentOptions = {
        answer: (command, connection) => (command === 'guest-fsfreeze-thaw' && connection === 0 ? failure : undefined),
      }
      const { fake, agent } = await connected(t, options, TIMES)
      assert.equal(await withFrozen(agent, async () => 'done'), 'done')
      assert.equal(fake.frozen, false, failure)
      assert.deepEqual(fake.commands.slice(-2), ['1 guest-sync-delimited', '1 guest-fsfreeze-thaw'])
    }
  })

  test('that may still be frozen are told of, within the time of two answers', { timeout }, async (t) => {
    const options: FakeAgentOptions = {
      answer: (command, connection) => (command === 'guest-fsfreeze-thaw' || connection > 0 ? 'hang' : undefined),
    }
    const { agent } = await connected(t, options, TIMES)
    const late = lateness()
    const before = performance.now()
    const error = await withFrozen(agent, async () => {}).catch((reason) => reason)
    assert.ok(error instanceof StillFrozenError)
    assert.match(error.line, /may still be frozen.*guest-fsfreeze-thaw/)
    assert.ok(performance.now() - before < 4 * TIMES.answer + late())
  })

  test('that may still be frozen after another error are told of with it', { timeout }, async (t) => {
    const hung: FakeAgentOptions = { answer: (command) => (command === 'guest-fsfreeze-thaw' ? 'hang' : undefined) }
    const { agent } = await connected(t, hung, TIMES)
    const error = await withFrozen(agent, () => Promise.reject(new Error('no disk'))).catch((reason) => reason)
    assert.ok(error instanceof StillFrozenError)
    assert.match(error.message, /^no disk; the guest's filesystems may still be frozen/)
    assert.equal((error.cause as Error).message, 'no disk')
  })

  test('that did not stay frozen are an error, though they are thawed', { timeout }, async (t) => {
    const { agent } = await connected(t, {
      answer: (command) => (command === 'guest-fsfreeze-thaw' ? { error: 'time is over' } : undefined),
    })
    // A refused thaw, and a status that says thawed: as Windows does after 10 s.
    const frozen = withFrozen(agent, async () => {})
    await assert.rejects(frozen, StillFrozenError)
    const { fake, agent: windows } = await connected(t, {
      answer: (command) => {
        if (command !== 'guest-fsfreeze-thaw') return undefined
        fake.frozen = false
        return { error: 'time is over' }
      },
    })
    await assert.rejects(
      withFrozen(windows, async () => {}),
      /refuses guest-fsfreeze-thaw: time is over/,
    )
  })

  test('that somebody else has frozen are left alone', { timeout }, async (t) => {
    const { fake, agent } = await connected(t)
    fake.frozen = true
    await assert.rejects(withFrozen(agent, neverRun), /frozen already, by somebody else/)
    assert.equal(fake.frozen, true)
  })
})

describe('a guest agent', { concurrency: true }, () => {
  test('that does not answer costs its timeout', { timeout }, async (t) => {
    const path = await new FakeAgent({ answer: () => 'hang' }).listen(t)
    const late = lateness()
    const before = performance.now()
    await assert.rejects(GuestAgent.connect(path, TIMES), /no answer to guest-sync-delimited/)
    assert.ok(performance.now() - before < 4 * TIMES.answer + late())
  })

  test('that is not there is an error at once', { timeout }, async (t) => {
    const path = join(tmpDir(t), 'none')
    await assert.rejects(GuestAgent.connect(path), { code: 'FAILED', message: /no such file or directory/ })
  })

  test('is not waited for any longer when told so', { timeout }, async (t) => {
    const path = await new FakeAgent({ answer: () => 'hang' }).listen(t)
    const stop = new AbortController()
    const connecting = GuestAgent.connect(path, { signal: stop.signal, answer: 5000 })
    setTimeout(() => stop.abort(), 20)
    await assert.rejects(connecting, { code: 'ABORTED' })
  })
})
