import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/attachment/footprint.ts'
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

describeBusyGuests('under plain push a guest goes on, without one error and with nothing left behind,', (busy) => {
  const archive = () => join(busy().dir, 'x.vma')
  const plain = () => ['--mode', 'push', '-o', archive(), '-f']

  for (const { name, strike, longest } of FAULTS) {
    test(`when ${name}`, { timeout }, async (t) => {
      const late = lateness()
      const pause = await strike(t, busy(), 'push')
      t.diagnostic(`longest pause ${Math.round(pause)} ms`)
      assert.ok(pause < longest + late(), `the guest did not write for ${pause} ms`)
      await assertUnharmed(busy())
    })
  }

  test('when the backup stands still: it waits for as long; both drives are of one instant', {
    timeout,
  }, async (t) => {
    const { acked } = busy().guest
    const { child, ended } = await startBackup(t, busy(), [...plain(), '--bwlimit', '20MiB/s'])
    const begun = busy().guest.acked + 1
    child.kill('SIGSTOP')
    setTimeout(() => child.kill('SIGCONT'), 3000)
    const late = lateness()
    const pause = await longestPause(busy(), ended)
    t.diagnostic(`longest pause ${Math.round(pause)} ms`)
    assert.ok(pause > 2000, 'a write waited')
    assert.ok(pause < 3000 + BREATH + late(), `the guest did not write for ${pause} ms`)
    const { code, log } = await ended
    assert.equal(code, 0, log())
    await assertUnharmed(busy())
    await assertOneInstant(t, busy(), archive(), { acked, begun })
  })

  test('when it is reset in the middle: the archive is of before, and boots, and the guest starts again', {
    timeout,
  }, async (t) => {
    const { guest, monitor } = busy()
    const { acked } = guest
    const { ended } = await startBackup(t, busy(), [...plain(), '--bwlimit', '20MiB/s'])
    const begun = guest.acked + 1
    await monitor.execute('set-action', { reboot: 'reset' })
    await monitor.execute('system_reset')
    const { code, log } = await ended
    assert.equal(code, 0, log())
    assert.deepEqual(namesIn(await footprintOf(monitor)), [])
    const restored = await assertOneInstant(t, busy(), archive(), { acked, begun })
    await Promise.all([assertBoots(t, busy(), restored, 'sda'), restarted(busy())])
  })

  test('but may see errors when the backup is killed; detach takes out what is left all the same', {
    timeout,
  }, async (t) => {
    const { guest, monitor, qmp } = busy()
    // A guest that gives up for its errors switches itself off.
    await monitor.execute('set-action', { shutdown: 'pause' })
    const { child, ended } = await startBackup(t, busy(), plain())
    child.kill('SIGKILL')
    await Promise.all([ended, sleep(1000)])
    t.diagnostic(`errors of the guest: ${guest.console.diskErrors.length}`)
    assert.notDeepEqual(namesIn(await footprintOf(monitor)), [])
    const { code, stderr } = await vmapipe(['detach', '--qmp', qmp])
    assert.equal(code, 0, stderr)
    assert.deepEqual(namesIn(await footprintOf(monitor)), [])
  })

  test('until its QEMU is killed in the middle, which the backup tells', { timeout }, async (t) => {
    const never = join(busy().dir, 'never.vma')
    const { ended } = await startBackup(t, busy(), ['--mode', 'push', '-o', never])
    await busy().guest.kill()
    const { code, log } = await ended
    assert.equal(code, 1)
    assert.match(log(), /vmapipe: .*QEMU ended during the backup/)
    assert.equal(existsSync(never), false)
  })
})
