import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../cli/cli.ts'
import { fileDrive, rawImages } from '../live/qemu/images.ts'
import { qmpProxy } from '../live/qemu/qmp-proxy.ts'
import { needsGuest } from '../support/guest/machine.ts'
import { startQemu } from '../support/qemu.ts'
import { NEWER } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { assertUnharmed, type RamGuest, snapshotsMemory, startRamGuest, statusOf } from './ram-guest.ts'

const timeout = 120_000

/** Takes some MiB, and then nothing: it stands still in the middle of the memory. */
const STUCK = 'exec:head -c 20000000 >/dev/null; exec sleep 100'

/** A backup to what gets stuck, in the middle of the memory. */
async function startStuck(t: TestContext, { monitor, qmp }: RamGuest, args: readonly string[]) {
  const child = startCli(['backup', '--qmp', qmp, '--with-ram', '-o', STUCK, '--compress', 'none', ...args])
  t.after(() => child.kill('SIGKILL'))
  let log = ''
  child.stderr.on('data', (data) => {
    log += data
  })
  const ended = once(child, 'close').then(([code]) => ({ code, log }))
  while (!(await isSaving(monitor))) {
    await sleep(50)
    if (child.exitCode !== null) throw new Error(`the backup ended early: ${log}`)
  }
  return { child, ended }
}

/** A QEMU that writes to protected memory itself does not answer until the page is saved. */
async function isSaving(monitor: QmpClient): Promise<boolean> {
  const silent = { status: 'active' }
  const { status } = await monitor.execute<any>('query-migrate', undefined, { timeout: 1000 }).catch(() => silent)
  if (status !== 'active') return false
  // It stands still until its memory is protected, and who is killed before that cannot let it go on.
  const { running } = await monitor
    .execute<any>('query-status', undefined, { timeout: 1000 })
    .catch(() => ({ running: true }))
  return running
}

describe(`a guest whose memory goes into the backup goes on`, needsGuest(NEWER), () => {
  let it: RamGuest
  const hooks: (() => void)[] = []
  before(async () => {
    it = await startRamGuest({ after: (hook) => hooks.push(hook) }, NEWER)
  })
  after(() => {
    for (const hook of hooks.reverse()) hook()
  })

  test('when the target takes nothing any more: no longer than it may wait', { timeout }, async (t) => {
    const { ended } = await startStuck(t, it, ['--max-stall', '3s'])
    const { code, log } = await ended
    assert.equal(code, 1, log)
    assert.match(log, /has waited \d+ ms for the archive, \d+ are allowed: the backup was given up/)
    await assertUnharmed(it)
  })

  test('when the user interrupts a backup that stands still', { timeout }, async (t) => {
    const { child, ended } = await startStuck(t, it, ['--max-stall', '60s'])
    child.kill('SIGINT')
    const { code, log } = await ended
    assert.equal(code, 130, log)
    await assertUnharmed(it)
  })

  test('when a backup that stands still is killed; detach then lets the guest be migrated again', {
    timeout,
  }, async (t) => {
    const { child, ended } = await startStuck(t, it, ['--max-stall', '60s'])
    child.kill('SIGKILL')
    await ended
    await it.guest.waitFor(`ACK ${it.guest.acked + 20}`)
    assert.equal(await snapshotsMemory(it), true)
    // As a run leaves it that is killed a moment earlier.
    await it.monitor.execute('stop')
    const { code, stderr } = await vmapipe(['detach', '--qmp', it.qmp])
    assert.equal(code, 0, stderr)
    assert.match(
      stderr,
      /^removed .*\nthe guest is paused; if nobody wanted that, the QMP command `cont` continues it\n$/,
    )
    await it.monitor.execute('cont')
    await assertUnharmed(it)
  })

  test('when a backup is killed that has stopped it for its memory; detach lets it go on', { timeout }, async (t) => {
    for (const moment of ['migrate', 'cont']) {
      const reached = Promise.withResolvers<void>()
      const proxy = await qmpProxy(t, it.qmp, async ({ execute }) => {
        if (execute !== moment) return
        reached.resolve()
        await new Promise(() => {})
      })
      const child = startCli(['backup', '--qmp', proxy, '--with-ram', '-o', join(it.dir, 'killed.vma')])
      t.after(() => child.kill('SIGKILL'))
      const ended = once(child, 'close')
      await Promise.race([reached.promise, ended.then(() => assert.fail('the backup ended early'))])
      child.kill('SIGKILL')
      await ended
      assert.equal(await statusOf(it), 'paused', moment)
      const { code, stderr } = await vmapipe(['detach', '--qmp', it.qmp])
      assert.equal(code, 0, stderr)
      assert.match(stderr, /\nthe guest was paused by .* it runs again\n$/)
      await assertUnharmed(it)
    }
  })

  test('when the backup is refused, because its memory cannot be protected', { timeout }, async () => {
    await it.monitor.execute('migrate-set-capabilities', { capabilities: [{ capability: 'xbzrle', state: true }] })
    const to = join(it.dir, 'refused.vma')
    const refused = backupGuest({ qmp: it.qmp, to, withRam: true })
    await assert.rejects(refused, { code: 'FAILED', message: /cannot save the guest's memory.*xbzrle/i })
    assert.equal(existsSync(to), false)
    await it.monitor.execute('migrate-set-capabilities', { capabilities: [{ capability: 'xbzrle', state: false }] })
    await assertUnharmed(it)
  })

  test('or stays paused, when it was paused before', { timeout }, async () => {
    await it.monitor.execute('stop')
    await backupGuest({ qmp: it.qmp, to: join(it.dir, 'paused.vma'), withRam: true })
    assert.equal(await statusOf(it), 'paused')
    await it.monitor.execute('cont')
    await assertUnharmed(it)
  })
})

describe('a backup with the memory of the guest', () => {
  test('is refused by a QEMU that could not get over a failure', {
    timeout,
    ...needs('qemu-system-x86_64'),
  }, async (t) => {
    const { qmp } = await startQemu(
      t,
      fileDrive('disk', rawImages(tmpDir(t), ['disk']).disk, 'virtio-blk-pci,drive=disk'),
    )
    const monitor = await QmpClient.connect(qmp)
    const { major } = monitor.version
    monitor.close()
    if (major >= 10) return t.skip('the installed QEMU could')
    const to = join(tmpDir(t), 'never.vma')
    await assert.rejects(backupGuest({ qmp, to, withRam: true }), {
      code: 'FAILED',
      message: /may hang the guest for good/,
    })
    assert.equal(existsSync(to), false)
  })

  test('is refused with what contradicts it', async () => {
    const to = 'never.vma'
    await assert.rejects(backupGuest({ qmp: 'no', to, withRam: true, mode: 'push' }), {
      code: 'USAGE',
      message: /guarded push/,
    })
    await assert.rejects(backupGuest({ qmp: 'no', to, withRam: true, fsfreeze: 'on' }), {
      code: 'USAGE',
      message: /frozen/,
    })
    const { code, stderr } = await vmapipe(['backup', '-d', 'a=b', '--with-ram', '-o', to])
    assert.equal(code, 2)
    assert.match(stderr, /--with-ram.*--qmp SOCKET/)
  })
})
