/**
 * A real guest of a stock QEMU that writes to its disks all the time, and looks from outside at how it does. It has two:
 * a raw one on virtio-blk, and a qcow2 one on virtio-scsi.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/attachment/footprint.ts'
import { isOurs, namesOf } from '../../../src/live/qemu/attachment/names.ts'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { type CliOptions, startCli, vmapipe } from '../../cli/cli.ts'
import { makeGuestDisk } from '../../support/guest/disk.ts'
import { assertRestoredDisk } from '../../support/guest/filesystem.ts'
import { type Guest, startGuest } from '../../support/guest/guest.ts'
import type { GuestDisk } from '../../support/guest/machine.ts'
import { type Bounds, checkOneInstant } from '../../support/guest/records.ts'
import type { QemuBuild } from '../../support/qemu-builds.ts'
import { tmpDir } from '../../support/tmp.ts'

export interface BusyGuest {
  guest: Guest
  dir: string
  /** Where backups connect. */
  qmp: string
  /** A monitor of the test's own. */
  monitor: QmpClient
  qemu: QemuBuild
}

/** What the disks are called in archives. */
const RAW = 'drive-disk0'
const QCOW2 = 'drive-disk1'

type After = { after(hook: () => void): void }

export async function startBusyGuest(t: After, qemu: QemuBuild): Promise<BusyGuest> {
  const dir = tmpDir(t)
  const [qmp, own, second] = ['qmp', 'own', 'second'].map((name) => join(dir, name))
  const guest = await startGuest(t, {
    ...{ role: 'writer', disks: makeDisks(dir), qemu },
    args: [qmp, own, second].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`]),
  })
  await guest.waitFor('ACK 20')
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  return { guest, dir, qmp, monitor, qemu }
}

function makeDisks(dir: string): GuestDisk[] {
  const [raw, made, qcow2] = ['disk0.raw', 'disk1.raw', 'disk1.qcow2'].map((name) => join(dir, name))
  makeGuestDisk(raw, 'raw')
  makeGuestDisk(made, 'qcow2')
  convert(made, 'qcow2', qcow2)
  rmSync(made)
  return disksOf(raw, qcow2)
}

function disksOf(raw: string, qcow2: string): GuestDisk[] {
  return [{ file: raw }, { file: qcow2, format: 'qcow2', bus: 'virtio-scsi' }]
}

function convert(from: string, format: 'raw' | 'qcow2', to: string): void {
  const other = format === 'raw' ? 'qcow2' : 'raw'
  execFileSync('qemu-img', ['convert', '-f', other, '-O', format, from, to])
}

/** The guest goes on: it wrote on, none of its requests failed, and nothing of ours is left in QEMU. */
export async function assertUnharmed({ guest, monitor }: BusyGuest): Promise<void> {
  const { acked } = guest
  await guest.waitFor(`ACK ${acked + 20}`)
  assert.deepEqual(guest.console.diskErrors, [])
  assert.deepEqual(namesIn(await footprintOf(monitor)), [])
  assert.equal((await monitor.execute<any>('query-status')).status, 'running')
}

/** The guest of a machine that was reset has started again, and writes; it counts its records anew. */
export async function restarted({ guest }: BusyGuest): Promise<void> {
  await guest.waitFor('READY(?=\\n[^]*\\nREADY\\n[^]*\\nACK 3)')
  assert.deepEqual(guest.console.diskErrors, [])
}

/** The longest time that the guest did not write while `work` went on, in milliseconds. */
export async function longestPause<T>({ guest }: BusyGuest, work: Promise<T>): Promise<number> {
  let over = false
  void work
    .catch(() => {})
    .finally(() => {
      over = true
    })
  let longest = 0
  for (let { acked } = guest, since = performance.now(); !over; await sleep(5)) {
    const now = performance.now()
    if (guest.acked !== acked) [acked, since] = [guest.acked, now]
    else longest = Math.max(longest, now - since)
  }
  return longest
}

/** Starts a backup that takes some seconds, and waits until it has switched the guest's drives. */
export async function startBackup(
  t: After,
  { qmp, monitor }: BusyGuest,
  args: readonly string[],
  options: CliOptions = {},
) {
  const child = startCli(['backup', '--qmp', qmp, '--bwlimit', '12MiB/s', ...args], options)
  t.after(() => child.kill('SIGKILL'))
  let log = ''
  let isOver = false
  const told = new Promise<void>((resolve) => {
    child.stderr.on('data', (data) => {
      log += data
      if (log.includes('point in time: ')) resolve()
    })
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, log: () => log }))
  // A QEMU on a busy machine may take long to answer, and the backup goes on meanwhile: what it tells itself comes sooner, but it may be quiet.
  const seen = async () => {
    while (!isOver) {
      const [jobs, exports] = await Promise.all(
        ['query-jobs', 'query-block-exports'].map((command) => monitor.execute<{ id: string }[]>(command)),
      )
      if (jobs.some(({ id }) => isOurs(id)) || exports.some(({ id }) => id === namesOf(0).snapshot)) return
      await sleep(10)
    }
  }
  const early = ended.then(() => {
    if (!isOver) throw new Error(`the backup ended early: ${log}`)
  })
  await Promise.race([told, seen(), early]).finally(() => {
    isOver = true
  })
  return { child, ended }
}

/** Restores an archive, each drive to the kind of image that the guest had; paths of the raw and of the qcow2. */
export async function restore({ dir }: BusyGuest, archive: string): Promise<{ raw: string; qcow2: string }> {
  const folder = mkdtempSync(join(dir, 'restored-'))
  const [raw, qcow2] = ['disk0.raw', 'disk1.qcow2'].map((name) => join(folder, name))
  const { code, stderr } = await vmapipe([
    'restore',
    archive,
    '--drive',
    `${RAW}=${raw}`,
    '--drive',
    `${QCOW2}=qcow2:${qcow2}`,
    '--quiet',
  ])
  assert.equal(code, 0, stderr)
  return { raw, qcow2 }
}

export interface Restored {
  raw: string
  qcow2: string
  /** The last record on each of them. */
  lasts: number[]
}

/** Both drives of an archive hold exactly the writes of before one instant, which was between `acked` and `begun`. */
export async function assertOneInstant(t: After, busy: BusyGuest, archive: string, bounds: Bounds): Promise<Restored> {
  const { raw, qcow2 } = await restore(busy, archive)
  const converted = `${qcow2}.raw`
  convert(qcow2, 'raw', converted)
  const lasts = [raw, converted].map((image) => assertRestoredDisk(t, image, bounds))
  checkOneInstant(lasts)
  return { raw, qcow2, lasts }
}

/** A machine with both disks starts from one of them, and finds the same records on both. */
export async function assertBoots(t: After, { qemu }: BusyGuest, { raw, qcow2, lasts }: Restored, root: 'vda' | 'sda') {
  const guest = await startGuest(t, { role: 'boot', root, disks: disksOf(raw, qcow2), qemu })
  const [first, second] = root === 'vda' ? ['BOOTED', 'FOUND'] : ['FOUND', 'BOOTED']
  await guest.waitFor(`${first} raw records ${lasts[0]} last 0*${lasts[0]}`)
  await guest.waitFor(`${second} qcow2 records ${lasts[1]} last 0*${lasts[1]}`)
  await guest.poweredOff()
}

export { vmapipe }
