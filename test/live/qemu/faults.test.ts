import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/footprint.ts'
import { parseNbdUri } from '../../../src/protocol/nbd/uri.ts'
import { needsGuest } from '../../support/guest/machine.ts'
import {
  assertOneInstant,
  assertUnharmed,
  type BusyGuest,
  longestPause,
  restore,
  startBackup,
  startBusyGuest,
  vmapipe,
} from './busy-guest.ts'

const timeout = 60_000

/** A guest under TCG on a busy machine does not write for this long by itself at times, in milliseconds. */
const BREATH = 1500

describe('a guest under guarded push goes on, without one error and with nothing left behind,', needsGuest(), () => {
  let busy: BusyGuest
  const hooks: (() => void)[] = []
  before(async () => {
    busy = await startBusyGuest({ after: (hook) => hooks.push(hook) })
  })
  after(() => {
    for (const hook of hooks.reverse()) hook()
  })

  const archive = () => join(busy.dir, 'x.vma')

  test('when the user interrupts the backup', { timeout }, async (t) => {
    const { child, ended } = await startBackup(t, busy, ['-o', archive()])
    child.kill('SIGINT')
    t.diagnostic(`longest pause ${Math.round(await longestPause(busy, ended))} ms`)
    const { code } = await ended
    assert.equal(code, 130)
    assert.equal(existsSync(archive()), false)
    await assertUnharmed(busy)
  })

  test('when the target ends in the middle', { timeout }, async (t) => {
    const { ended } = await startBackup(t, busy, ['-o', 'exec:head -c 3000000 >/dev/null'])
    t.diagnostic(`longest pause ${Math.round(await longestPause(busy, ended))} ms`)
    const { code, log } = await ended
    assert.equal(code, 1, log())
    assert.match(log(), /vmapipe: sink: .*(EPIPE|ended|reads no more|broken pipe)/i)
    await assertUnharmed(busy)
  })

  test('when the target takes nothing: no write waits longer than is allowed', { timeout }, async (t) => {
    const args = ['-o', 'exec:exec sleep 100', '--buffer', '16MiB', '--max-stall', '2s', '--bwlimit', '1GiB/s']
    const { ended } = await startBackup(t, busy, args)
    const pause = await longestPause(busy, ended)
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    const { code, log } = await ended
    assert.equal(code, 1, log())
    assert.match(log(), /a guest's write has waited \d+ ms for the archive, 2000 are allowed: the backup was given up/)
    assert.ok(pause > 1000, 'a write waited')
    assert.ok(pause < 2000 + BREATH, `the guest did not write for ${pause} ms`)
    await assertUnharmed(busy)
  })

  test('when the backup is killed; detach then takes out what is left', { timeout }, async (t) => {
    const { child, ended } = await startBackup(t, busy, ['-o', archive()])
    child.kill('SIGKILL')
    const pause = await longestPause(busy, Promise.all([ended, sleep(1000)]))
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    assert.ok(pause < BREATH, `the guest did not write for ${pause} ms`)
    assert.equal((await footprintOf(busy.monitor)).exports.length, 2)
    const [place] = (await footprintOf(busy.monitor)).places
    const address = parseNbdUri(place)
    assert.ok('socketPath' in address && existsSync(address.socketPath))
    const { code, stderr } = await vmapipe(['detach', '--qmp', busy.qmp])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /vmapipe-cbw0/)
    assert.equal(existsSync(dirname(address.socketPath)), false)
    await assertUnharmed(busy)
  })

  test('when the backup stands still for longer than a write may wait', { timeout }, async (t) => {
    const { child, ended } = await startBackup(t, busy, ['-o', archive(), '--max-stall', '1s'])
    child.kill('SIGSTOP')
    // The guest writes to one drive after the other, and each of them waits once: for the second that is allowed, and one.
    const pause = await longestPause(busy, sleep(6000))
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    assert.ok(pause < 2 * 2000 + BREATH, `the guest did not write for ${pause} ms`)
    child.kill('SIGCONT')
    const { code, log } = await ended
    assert.equal(code, 1, log())
    assert.match(log(), /QEMU has given the point in time up/)
    await assertUnharmed(busy)
  })

  test('when somebody else backs it up already: the second is refused, the first one goes on', {
    timeout,
  }, async (t) => {
    const { ended } = await startBackup(t, busy, ['-o', archive(), '-f'])
    const second = await vmapipe(['backup', '--qmp', join(busy.dir, 'second'), '-o', `${archive()}.2`])
    assert.equal(second.code, 1)
    assert.match(second.stderr, /another vmapipe is backing up this guest/)
    const { code, log } = await ended
    assert.equal(code, 0, log())
    await assertUnharmed(busy)
  })

  test('after all of this, and after a kill: the next backup detaches by itself, and is of one instant', {
    timeout,
  }, async (t) => {
    const killed = await startBackup(t, busy, ['-o', archive(), '-f'])
    killed.child.kill('SIGKILL')
    await killed.ended
    const { acked } = busy.guest
    const { code, stderr } = await vmapipe(['backup', '--qmp', busy.qmp, '-o', archive(), '-f'])
    const begun = busy.guest.acked + 1
    assert.equal(code, 0, stderr)
    await assertUnharmed(busy)
    assertOneInstant(t, busy, await restore(busy, archive()), { acked, begun })
  })

  test('when it is reset in the middle: the archive is of before', { timeout }, async (t) => {
    await busy.monitor.execute('set-action', { reboot: 'reset' })
    const { acked } = busy.guest
    const { ended } = await startBackup(t, busy, ['-o', archive(), '-f'])
    const begun = busy.guest.acked + 1
    await busy.monitor.execute('system_reset')
    const { code, log } = await ended
    assert.equal(code, 0, log())
    assert.equal((await busy.monitor.execute('query-status')).status, 'running')
    assert.deepEqual(namesIn(await footprintOf(busy.monitor)), [])
    assertOneInstant(t, busy, await restore(busy, archive()), { acked, begun })
  })

  test('until it is switched off in the middle, which the backup tells', { timeout }, async (t) => {
    const { ended } = await startBackup(t, busy, ['-o', join(busy.dir, 'never.vma')])
    await busy.monitor.execute('quit')
    const { code, log } = await ended
    assert.equal(code, 1)
    assert.match(log(), /vmapipe: .*(the guest was switched off|QEMU ended) during the backup/)
    assert.equal(existsSync(join(busy.dir, 'never.vma')), false)
  })
})

describe('a guest under plain push goes on, without one error and with nothing left behind,', needsGuest(), () => {
  let busy: BusyGuest
  const hooks: (() => void)[] = []
  before(async () => {
    busy = await startBusyGuest({ after: (hook) => hooks.push(hook) })
  })
  after(() => {
    for (const hook of hooks.reverse()) hook()
  })

  const plainly = (...args: string[]) => ['--mode', 'push', ...args]

  test('when the user interrupts the backup', { timeout }, async (t) => {
    const { child, ended } = await startBackup(t, busy, plainly('-o', join(busy.dir, 'x.vma')))
    child.kill('SIGINT')
    t.diagnostic(`longest pause ${Math.round(await longestPause(busy, ended))} ms`)
    const { code } = await ended
    assert.equal(code, 130)
    await assertUnharmed(busy)
  })

  test('when the target ends in the middle', { timeout }, async (t) => {
    const { ended } = await startBackup(t, busy, plainly('-o', 'exec:head -c 3000000 >/dev/null'))
    t.diagnostic(`longest pause ${Math.round(await longestPause(busy, ended))} ms`)
    const { code, log } = await ended
    assert.equal(code, 1, log())
    await assertUnharmed(busy)
  })

  test('when the target takes nothing', { timeout }, async (t) => {
    const args = ['-o', 'exec:exec sleep 100', '--buffer', '16MiB', '--max-stall', '2s', '--bwlimit', '1GiB/s']
    const { ended } = await startBackup(t, busy, plainly(...args))
    const pause = await longestPause(busy, ended)
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    const { code, log } = await ended
    assert.equal(code, 1, log())
    assert.match(log(), /a guest's write has waited \d+ ms for the archive, 2000 are allowed: the backup was given up/)
    assert.ok(pause < 2000 + BREATH, `the guest did not write for ${pause} ms`)
    await assertUnharmed(busy)
  })

  test('when all is well: both drives are of one instant', { timeout }, async (t) => {
    const { acked } = busy.guest
    const archive = join(busy.dir, 'whole.vma')
    const { ended } = await startBackup(t, busy, plainly('-o', archive, '--bwlimit', '40MiB/s'))
    const begun = busy.guest.acked + 1
    const { code, log } = await ended
    assert.equal(code, 0, log())
    await assertUnharmed(busy)
    assertOneInstant(t, busy, await restore(busy, archive), { acked, begun })
  })
})
