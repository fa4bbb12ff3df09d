/** Real guests boot from their archives. Each takes half a minute of a processor where it is emulated. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { backup } from '../../../src/operations/backup.ts'
import { type BootOptions, bootArchive } from '../../../src/operations/boot/boot-archive.ts'
import { until } from '../../storage/archive/processes.ts'
import { type Behaviour, makeBootable, needsBootable } from '../../support/guest/bootable.ts'
import { tmpDir } from '../../support/tmp.ts'

const PATIENCE = 600_000

/** Backs a disk up that boots by itself. Gives its archive and a folder for what it writes. */
async function archived(
  t: TestContext,
  behaviour: Behaviour,
  firmware: 'bios' | 'uefi' = 'bios',
  drive = 'drive-virtio0',
) {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  makeBootable(t, disk, { firmware, behaviour })
  const from = join(dir, 'vm.vma.zst')
  await backup({ drives: { [drive]: disk }, to: from })
  const scratch = tmpDir(t)
  const boot = (options: Partial<BootOptions> = {}) =>
    bootArchive({ from, scratch, memory: 256 << 20, accel: 'tcg', limit: PATIENCE, ...options })
  return { from, scratch, boot }
}

const PNG = '89504e470d0a1a0a'

describe('a guest boots from its archive', { concurrency: 2 }, () => {
  test('its agent answers: a BIOS, nothing known but the name of a drive', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { from, scratch, boot } = await archived(t, 'agent')
    const before = readFileSync(from)
    const { passed, detail, screen, at } = await boot()
    assert.match(detail, /^the guest agent answered after \d+ s$/)
    assert.ok(passed)
    assert.equal(screen!.toString('hex', 0, 8), PNG)
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000)
    assert.deepEqual(readFileSync(from), before, 'the archive is as it was')
    assert.deepEqual(readdirSync(scratch), [], 'nothing is left')
  })

  test('UEFI is found out by the partitions, and the disk may be on another bus', {
    timeout: PATIENCE,
    ...needsBootable('uefi'),
  }, async (t) => {
    const { boot } = await archived(t, 'agent', 'uefi', 'drive-sata0')
    assert.match((await boot()).detail, /^the guest agent answered/)
  })

  test('a login on the screen counts when it is still and answers a key', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { boot } = await archived(t, 'login', 'bios', 'drive-scsi0')
    assert.match((await boot({ still: 6000 })).detail, /^the screen was still for 6 s, and answers a key after \d+ s$/)
  })

  test('a pattern on the console counts, also in a line that has not ended', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { boot } = await archived(t, 'stuck')
    assert.match((await boot({ pattern: /^guest halted $/ })).detail, /^the pattern is on the console after/)
  })
})

describe('a guest does not boot', { concurrency: 2 }, () => {
  test('it hangs before a login: its console echoes what is typed, and nothing answers', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { boot } = await archived(t, 'stuck', 'bios', 'drive-scsi0')
    const { passed, detail } = await boot({ still: 5000, limit: 45_000 })
    assert.match(detail, /the screen did not come to rest at a login/)
    assert.ok(!passed)
  })

  test('its kernel panics', { timeout: PATIENCE, ...needsBootable('bios') }, async (t) => {
    const { boot } = await archived(t, 'panic')
    const { passed, detail, screen } = await boot()
    assert.match(detail, /^the kernel of the guest panicked after/)
    assert.ok(!passed && screen !== null)
  })

  test('it switches itself off', { timeout: PATIENCE, ...needsBootable('bios') }, async (t) => {
    const { boot } = await archived(t, 'off')
    assert.match((await boot()).detail, /^the guest switched itself off after/)
  })

  test('its disk is empty: what a BIOS says of it is no login', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { boot } = await archived(t, 'agent', 'uefi')
    const { passed, detail } = await boot({ firmware: 'bios', still: 2000, limit: 20_000 })
    assert.ok(!passed)
    assert.match(detail, /the guest agent did not answer, and the screen did not come to rest at a login after/)
  })

  test('it writes more than it may: that is no verdict', { timeout: PATIENCE, ...needsBootable('bios') }, async (t) => {
    const { scratch, boot } = await archived(t, 'fill')
    await assert.rejects(boot({ scratchSize: 8 << 20 }), /the guest has written more than 8\.0 MiB/)
    assert.deepEqual(readdirSync(scratch), [])
  })

  test('it is aborted: QEMU ends at once, and nothing is left', {
    timeout: PATIENCE,
    ...needsBootable('bios'),
  }, async (t) => {
    const { scratch, boot } = await archived(t, 'agent')
    const controller = new AbortController()
    const booting = boot({ signal: controller.signal, memory: 77 << 20 })
    await until(() => qemuWith('77M').length > 0, 'QEMU runs')
    assert.notDeepEqual(readdirSync(scratch), [])
    const user = process.getuid!() === 0 ? 65534 : process.getuid!()
    await until(() => qemuWith('77M').every((pid) => statSync(`/proc/${pid}`).uid === user), 'QEMU is nobody')
    controller.abort()
    await assert.rejects(booting, { code: 'ABORTED' })
    assert.deepEqual(readdirSync(scratch), [])
    assert.deepEqual(qemuWith('77M'), [])
  })
})

/** Processes of QEMU whose guest has so much memory. */
function qemuWith(memory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      return /qemu-system/.test(words[0]) && words[words.indexOf('-m') + 1] === memory
    } catch {
      return false
    }
  })
}
