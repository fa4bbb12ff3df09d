/** A real guest of a stock QEMU that writes to its disks all the time, and looks from outside at how it does. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/footprint.ts'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../../cli/cli.ts'
import { makeGuestDisk } from '../../support/guest/disk.ts'
import { assertRestoredDisk } from '../../support/guest/filesystem.ts'
import { type Guest, startGuest } from '../../support/guest/guest.ts'
import { type Bounds, checkOneInstant } from '../../support/guest/records.ts'
import { tmpDir } from '../../support/tmp.ts'

export interface BusyGuest {
  guest: Guest
  dir: string
  /** Where backups connect. */
  qmp: string
  /** A monitor of the test's own. */
  monitor: QmpClient
  /** What the images are called in archives. */
  drives: string[]
}

export interface BusyGuestOptions {
  disks?: number
  args?: readonly string[]
  /** The disks are worked on by a thread of their own. */
  iothread?: boolean
}

type After = { after(hook: () => void): void }

export async function startBusyGuest(
  t: After,
  { disks = 2, args = [], iothread = false }: BusyGuestOptions = {},
): Promise<BusyGuest> {
  const dir = tmpDir(t)
  const images = Array.from({ length: disks }, (_, index) => join(dir, `disk${index}`))
  for (const image of images) makeGuestDisk(image, 'busy')
  const [qmp, own, second] = ['qmp', 'own', 'second'].map((name) => join(dir, name))
  const sockets = [qmp, own, second].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`])
  const guest = await startGuest(t, {
    role: 'writer',
    disks: iothread ? [] : images.map((file) => ({ file })),
    args: [...sockets, ...(iothread ? withIothread(images) : []), ...args],
  })
  await guest.waitFor('ACK 20')
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  return { guest, dir, qmp, monitor, drives: images.map((_, index) => `drive-disk${index}`) }
}

function withIothread(images: readonly string[]): string[] {
  const disks = images.flatMap((filename, index) => [
    ...['-blockdev', JSON.stringify({ driver: 'file', filename, 'node-name': `disk${index}` })],
    ...['-device', `virtio-blk-pci,id=disk${index},drive=disk${index},iothread=io`],
  ])
  return ['-object', 'iothread,id=io', ...disks]
}

/** The guest goes on: it wrote on, none of its requests failed, and nothing of ours is left in QEMU. */
export async function assertUnharmed({ guest, monitor }: BusyGuest): Promise<void> {
  const { acked } = guest
  await guest.waitFor(`ACK ${acked + 20}`, 10_000)
  assert.deepEqual(guest.console.diskErrors, [])
  assert.deepEqual(namesIn(await footprintOf(monitor)), [])
  assert.equal((await monitor.execute('query-status')).status, 'running')
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
export async function startBackup(t: After, { qmp, monitor }: BusyGuest, args: readonly string[]) {
  const child = startCli(['backup', '--qmp', qmp, '--bwlimit', '12MiB/s', ...args])
  t.after(() => child.kill('SIGKILL'))
  let log = ''
  child.stderr.on('data', (data) => {
    log += data
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, log: () => log }))
  for (;;) {
    const { exports, jobs } = await footprintOf(monitor)
    if (exports.length + jobs.length > 0) break
    if (child.exitCode !== null) throw new Error(`the backup ended early: ${log}`)
    await sleep(10)
  }
  return { child, ended }
}

/** Restores an archive; the folder with the images. */
export async function restore({ dir }: BusyGuest, archive: string): Promise<string> {
  const folder = mkdtempSync(join(dir, 'restored-'))
  const { code, stderr } = await vmapipe(['restore', archive, folder, '--quiet'])
  assert.equal(code, 0, stderr)
  return folder
}

/** Every drive holds exactly the writes of before one instant, which was between `acked` and `begun`. */
export function assertOneInstant(t: After, { drives }: BusyGuest, folder: string, bounds: Bounds): void {
  checkOneInstant(drives.map((name) => assertRestoredDisk(t, join(folder, `disk-${name}.raw`), bounds)))
}

export { vmapipe }
