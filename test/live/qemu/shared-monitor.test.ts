import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { lateness } from '../../support/lateness.ts'
import { askOnce, useEvery2s } from '../../support/proxmox/other-client.ts'
import { assertOneInstant, assertUnharmed, startBackup, vmapipe } from './busy-guest.ts'
import { describeBusyGuests } from './faults.ts'

const timeout = 240_000

/** Proxmox's own tools give up after about that many milliseconds. */
const PATIENCE = 3000

describeBusyGuests('another client uses the monitor all through a backup of a guest', (busy) => {
  for (const mode of ['guarded', 'push']) {
    test(`${mode}: it is served every time, and the archive is right`, { timeout }, async (t) => {
      const { dir, qmp, guest } = busy()
      const archive = join(dir, `${mode}.vma`)
      const late = lateness()
      const other = useEvery2s(t, qmp)
      const before = guest.acked
      const { ended } = await startBackup(t, busy(), [
        '--shared-monitor',
        '--mode',
        mode,
        '-o',
        archive,
        '--bwlimit',
        '8MiB/s',
      ])
      const { code, log } = await ended
      await other.stop()
      assert.equal(code, 0, log())
      assert.deepEqual(other.errors, [])
      assert.ok(other.waits.length >= 3, `it came ${other.waits.length} times`)
      t.diagnostic(`it waited ${Math.round(Math.max(...other.waits))} ms at most, of ${other.waits.length} times`)
      assert.ok(Math.max(...other.waits) < PATIENCE + late(), `it waited ${other.waits.map(Math.round)} ms`)
      await assertOneInstant(t, busy(), archive, { acked: before, begun: guest.acked + 1 })
      await assertUnharmed(busy())
    })
  }

  test('a backup that is killed leaves what detach takes out', { timeout }, async (t) => {
    const { dir, qmp } = busy()
    const { child, ended } = await startBackup(t, busy(), [
      '--shared-monitor',
      '--mode',
      'guarded',
      '-o',
      join(dir, 'killed.vma'),
    ])
    child.kill('SIGKILL')
    await ended
    const { code, stderr } = await vmapipe(['detach', '--qmp', qmp])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /vmapipe-cbw0/)
    await assertUnharmed(busy())
  })

  test('that client ends the guest: the backup fails and says so, and the disks are whole', { timeout }, async (t) => {
    const { dir, qmp, guest } = busy()
    const archive = join(dir, 'ended.vma')
    const { ended } = await startBackup(t, busy(), ['--shared-monitor', '-o', archive, '--bwlimit', '2MiB/s'])
    await askOnce(qmp, { execute: 'quit' }).catch(() => {})
    const { code, log } = await ended
    assert.deepEqual(await guest.ended, [0, null], 'QEMU ended as it should')
    assert.equal(code, 1, log())
    assert.match(log(), /vmapipe: .*(QEMU ended|the guest was switched off) during the backup/)
    assert.equal(existsSync(archive), false)
    execFileSync('qemu-img', ['check', '-q', join(dir, 'disk1.qcow2')])
  })
})
