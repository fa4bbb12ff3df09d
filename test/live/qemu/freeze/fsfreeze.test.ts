import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentOptions, StillFrozenError } from '../../../../src/live/qemu/freeze/agent.ts'
import { type FsfreezeMode, fsfreeze } from '../../../../src/live/qemu/freeze/fsfreeze.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { FakeAgent, type FakeAgentOptions } from './fake-agent.ts'

const timeout = 60_000
/** For an agent that hangs on purpose, and still answers before that in time on a busy machine. One that does not hang has the usual times. */
const TIMES = { answer: 1000, freeze: 1000 }
/** How long they may be frozen where that is to be exceeded. */
const LIMIT = 300

/** Whether the action found the guest frozen, and what the user was warned of. */
async function tried(
  t: { after(hook: () => void): void },
  mode: FsfreezeMode,
  options?: FakeAgentOptions,
  times: AgentOptions = {},
) {
  const fake = new FakeAgent(options)
  const warnings: string[] = []
  const agent = await fake.listen(t)
  const warn = (message: string) => warnings.push(message)
  const frozen = await fsfreeze({ mode, agent, warn, ...times }, async () => fake.frozen)
  assert.equal(fake.frozen, false, 'nothing is left frozen')
  return { frozen, warnings, commands: fake.commands }
}

const noFreeze: FakeAgentOptions = {
  answer: (command) => (command === 'guest-fsfreeze-freeze' ? { error: 'not here' } : undefined),
}

describe('--fsfreeze', { concurrency: true }, () => {
  test('auto and on freeze where there is an agent', { timeout }, async (t) => {
    for (const mode of ['auto', 'on'] as const) {
      const { frozen, warnings } = await tried(t, mode)
      assert.deepEqual([frozen, warnings], [true, []], mode)
    }
  })

  test('off asks nobody', { timeout }, async (t) => {
    const { frozen, commands } = await tried(t, 'off')
    assert.deepEqual([frozen, commands], [false, []])
  })

  test('auto warns and goes on where the freeze is refused, or nobody answers', { timeout }, async (t) => {
    const refused = await tried(t, 'auto', noFreeze)
    assert.equal(refused.frozen, false)
    assert.match(refused.warnings[0], /are not frozen: .* refuses guest-fsfreeze-freeze: not here/)
    const hung = await tried(t, 'auto', { answer: () => 'hang' }, TIMES)
    assert.match(hung.warnings[0], /are not frozen: .*no answer to guest-sync-delimited/)
    const agent = join(tmpDir(t), 'none')
    assert.equal(await fsfreeze({ agent, warn: () => {} }, async () => 'done'), 'done')
  })

  test('on fails there, before the action', { timeout }, async (t) => {
    const never = async () => assert.fail('the action ran')
    const refused = await new FakeAgent(noFreeze).listen(t)
    await assert.rejects(fsfreeze({ mode: 'on', agent: refused }, never), /not here/)
    const hung = await new FakeAgent({ answer: () => 'hang' }).listen(t)
    await assert.rejects(fsfreeze({ mode: 'on', agent: hung, ...TIMES }, never), /no answer/)
    await assert.rejects(fsfreeze({ mode: 'on' }, never), { code: 'USAGE', hint: /--agent SOCKET/ })
  })

  test('without an agent, auto is off', { timeout }, async () => {
    assert.equal(await fsfreeze({}, async () => 'done'), 'done')
  })

  test('auto warns where the filesystems did not stay frozen to the end; on fails', { timeout }, async (t) => {
    const fake = new FakeAgent()
    const slow = async () => {
      while (fake.frozen) await sleep(20)
      return 'done'
    }
    const agent = await fake.listen(t)
    const warnings: string[] = []
    const warn = (message: string) => warnings.push(message)
    assert.equal(await fsfreeze({ agent, warn, limit: LIMIT }, slow), 'done')
    assert.match(warnings[0], /thawed after 0\.3 s/)
    await assert.rejects(fsfreeze({ mode: 'on', agent, limit: LIMIT }, slow), /thawed after 0\.3 s/)
  })

  test('fails in every mode where they may still be frozen', { timeout }, async (t) => {
    for (const mode of ['auto', 'on'] as const) {
      const hung: FakeAgentOptions = {
        answer: (command) => (command.startsWith('guest-fsfreeze-t') ? 'hang' : undefined),
      }
      await assert.rejects(tried(t, mode, hung, TIMES), StillFrozenError)
      const both: FakeAgentOptions = { answer: (command) => (/(freeze|thaw)$/.test(command) ? 'hang' : undefined) }
      await assert.rejects(tried(t, mode, both, TIMES), StillFrozenError)
    }
  })
})
