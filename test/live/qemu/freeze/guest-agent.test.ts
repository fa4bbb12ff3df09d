import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { GuestAgent, withFrozen } from '../../../../src/live/qemu/freeze/agent.ts'
import { type BackupGuestOptions, backupGuest } from '../../../../src/operations/backup-guest.ts'
import { restore } from '../../../../src/operations/restore.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { assertCleanFilesystem } from '../../../support/guest/filesystem.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { type AgentGuest, needsAgentGuest, startAgentGuest } from './agent-guest.ts'

const timeout = 60_000

describe('a real guest with its agent', { timeout: 300_000, ...needsAgentGuest() }, () => {
  let guest: AgentGuest
  const hooks: (() => void)[] = []
  before(async () => {
    guest = await startAgentGuest({ after: (hook) => hooks.push(hook) })
  })
  after(() => {
    for (const hook of hooks.reverse()) hook()
  })

  /** Backs the guest up; gives the restored disk, and what the agent was told meanwhile. */
  async function backUp(t: TestContext, options: Partial<BackupGuestOptions>) {
    const { qmp, agent } = guest
    const before = guest.told.length
    const dir = tmpDir(t)
    const [to, into] = ['vm.vma', 'restored'].map((name) => join(dir, name))
    const warnings: string[] = []
    await backupGuest({ qmp, agent, to, warn: (message) => warnings.push(message), ...options })
    assert.deepEqual(warnings, [])
    await restore({ from: to, into })
    await wrote(guest.writes + 3)
    return { disk: join(into, 'disk-drive-disk.raw'), told: guest.told.slice(before) }
  }

  /** Resolves when no write has come through for so many milliseconds; gives how many there were. */
  async function untilStill(pause: number): Promise<number> {
    for (;;) {
      const { writes } = guest
      await sleep(pause)
      if (guest.writes === writes) return writes
    }
  }

  async function wrote(writes: number): Promise<void> {
    while (guest.writes < writes) await sleep(10)
  }

  for (const mode of ['guarded', 'push'] as const) {
    test(`freezes for the instant of a backup (${mode}): no journal is to be replayed, and it writes on`, {
      timeout,
    }, async (t) => {
      const { disk, told } = await backUp(t, { mode, fsfreeze: 'on' })
      assert.deepEqual(told, ['freeze', 'thaw'])
      assertCleanFilesystem(disk)
    })
  }

  test('is not asked where nobody wants it: the journal is to be replayed', { timeout }, async (t) => {
    const { disk, told } = await backUp(t, { fsfreeze: 'off' })
    assert.deepEqual(told, [])
    assert.throws(() => assertCleanFilesystem(disk), /was not unmounted/)
  })

  test('is thawed when the switch of its drives fails', { timeout }, async (t) => {
    const monitor = await QmpClient.connect(guest.qmp)
    await monitor.execute('nbd-server-start', { addr: { type: 'unix', data: { path: join(tmpDir(t), 'foreign') } } })
    monitor.close()
    const before = guest.told.length
    await assert.rejects(backUp(t, { mode: 'guarded', fsfreeze: 'on' }), /NBD server already running/)
    await wrote(guest.writes + 3)
    assert.deepEqual(guest.told.slice(before), ['freeze', 'thaw'])
  })

  test('does not write while it is frozen, and goes on', { timeout }, async (t) => {
    const agent = await GuestAgent.connect(guest.agent)
    t.after(() => agent.close())
    const written = await withFrozen(agent, async () => {
      // The last write that came through may be reported a little later.
      const before = await untilStill(400)
      assert.equal(await agent.isFrozen(), true, 'and not because it was thawed for taking too long')
      return before
    })
    await wrote(written + 1)

    // The socket takes one client; ours is still there.
    const hasty = await GuestAgent.connect(guest.agent, { answer: 300 }).catch((error) => error)
    assert.match(hasty.message, /no answer/)
  })

  test('is told to thaw by another connection when its machine hangs just then', { timeout }, async (t) => {
    const agent = await GuestAgent.connect(guest.agent, { answer: 2000 })
    t.after(() => agent.close())
    await withFrozen(agent, async () => {
      guest.pause()
      setTimeout(() => guest.resume(), 3000)
    })
    assert.equal(await agent.isFrozen(), false)
  })
})
