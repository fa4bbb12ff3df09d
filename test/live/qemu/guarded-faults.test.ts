import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/attachment/footprint.ts'
import { parseNbdUri } from '../../../src/protocol/nbd/uri.ts'
import { lateness } from '../../support/lateness.ts'
import {
  assertBoots,
  assertOneInstant,
  assertUnharmed,
  longestPause,
  restarted,
  startBackup,
  vmapipe,
} from './busy-guest.ts'
import { BREATH, describeBusyGuests, FAULTS } from './faults.ts'

const timeout = 240_000

describeBusyGuests('under guarded push a guest goes on, without one error and with nothing left behind,', (busy) => {
  const archive = () => join(busy().dir, 'x.vma')
  const guarded = () => ['--mode', 'guarded', '-o', archive(), '-f']

  for (const { name, strike, longest } of FAULTS) {
    test(`when ${name}`, { timeout }, async (t) => {
      const late = lateness()
      const pause = await strike(t, busy(), 'guarded')
      t.diagnostic(`longest pause ${Math.round(pause)} ms`)
      assert.ok(pause < longest + late(), `the guest did not write for ${pause} ms`)
      await assertUnharmed(busy())
    })
  }

  test('when the backup is killed; detach then takes out what is left', { timeout }, async (t) => {
    const { monitor, qmp } = busy()
    const { child, ended } = await startBackup(t, busy(), guarded())
    child.kill('SIGKILL')
    const late = lateness()
    const pause = await longestPause(busy(), Promise.all([ended, sleep(1000)]))
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    assert.ok(pause < BREATH + late(), `the guest did not write for ${pause} ms`)
    const { snapshots, places } = await footprintOf(monitor)
    assert.equal(snapshots.length, 2)
    const address = parseNbdUri(places[0])
    assert.ok('socketPath' in address && existsSync(address.socketPath))
    const { code, stderr } = await vmapipe(['detach', '--qmp', qmp])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /vmapipe-cbw0/)
    assert.equal(existsSync(dirname(address.socketPath)), false)
    await assertUnharmed(busy())
  })

  test('when the backup stands still for longer than a write may wait', { timeout }, async (t) => {
    const { child, ended } = await startBackup(t, busy(), [...guarded(), '--max-stall', '1s'])
    child.kill('SIGSTOP')
    // The guest writes to one drive after the other, and each of them waits once: for the second that is allowed, and one.
    const late = lateness()
    const pause = await longestPause(busy(), sleep(5000))
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    assert.ok(pause < 2 * 2000 + BREATH + late(), `the guest did not write for ${pause} ms`)
    child.kill('SIGCONT')
    const { code, log } = await ended
    assert.equal(code, 1, log())
    assert.match(log(), /QEMU has given the point in time up/)
    await assertUnharmed(busy())
  })

  test('when somebody else backs it up already: the second is refused, the first one goes on', {
    timeout,
  }, async (t) => {
    const { child, ended } = await startBackup(t, busy(), [...guarded(), '--bwlimit', '1MiB/s'])
    const second = await vmapipe(['backup', '--qmp', join(busy().dir, 'second'), '-o', join(busy().dir, 'second.vma')])
    assert.equal(second.code, 1)
    assert.match(second.stderr, /another vmapipe is backing up this guest/)
    assert.equal((await footprintOf(busy().monitor)).snapshots.length, 2)
    child.kill('SIGINT')
    const { code, log } = await ended
    assert.equal(code, 130, log())
    await assertUnharmed(busy())
  })

  test('after all of this, and after a kill: the next backup detaches by itself, and is of one instant', {
    timeout,
  }, async (t) => {
    const killed = await startBackup(t, busy(), guarded())
    killed.child.kill('SIGKILL')
    await killed.ended
    const { acked } = busy().guest
    const { code, stderr } = await vmapipe(['backup', '--qmp', busy().qmp, ...guarded()])
    const begun = busy().guest.acked + 1
    assert.equal(code, 0, stderr)
    await assertUnharmed(busy())
    await assertOneInstant(t, busy(), archive(), { acked, begun })
  })

  test('when it is reset in the middle: the archive is of before, and boots, and the guest starts again', {
    timeout,
  }, async (t) => {
    const { guest, monitor } = busy()
    const { acked } = guest
    const { ended } = await startBackup(t, busy(), guarded())
    const begun = guest.acked + 1
    await monitor.execute('set-action', { reboot: 'reset' })
    await monitor.execute('system_reset')
    const { code, log } = await ended
    assert.equal(code, 0, log())
    assert.deepEqual(namesIn(await footprintOf(monitor)), [])
    const restored = await assertOneInstant(t, busy(), archive(), { acked, begun })
    await Promise.all([assertBoots(t, busy(), restored, 'vda'), restarted(busy())])
  })

  test('until its QEMU is killed in the middle, which the backup tells', { timeout }, async (t) => {
    const never = join(busy().dir, 'never.vma')
    const { ended } = await startBackup(t, busy(), ['--mode', 'guarded', '-o', never])
    await busy().guest.kill()
    const { code, log } = await ended
    assert.equal(code, 1)
    assert.match(log(), /vmapipe: .*QEMU ended during the backup/)
    assert.equal(existsSync(never), false)
  })
})
