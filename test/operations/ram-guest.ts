/** A guest of a stock QEMU that writes records, and the monitor of the test's own. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { type Guest, startGuest } from '../support/guest/guest.ts'
import type { QemuBuild } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'

export interface RamGuest {
  guest: Guest
  dir: string
  /** Where backups connect. */
  qmp: string
  monitor: QmpClient
}

const START_MS = 90_000

type After = { after(hook: () => void): void }

/** One that runs and writes, to two new disks. */
export async function startRamGuest(t: After, qemu: QemuBuild): Promise<RamGuest> {
  const dir = tmpDir(t)
  const disks = [0, 1].map((index) => join(dir, `disk${index}`))
  for (const disk of disks) makeGuestDisk(disk, 'ram')
  const it = await startOn(t, qemu, disks)
  await it.guest.waitFor('ACK 50')
  return it
}

/** One that goes on from what it had in its memory, on these disks; still paused. */
export async function runBack(t: After, qemu: QemuBuild, disks: readonly string[], state: string): Promise<RamGuest> {
  const it = await startOn(t, qemu, disks, ['-incoming', `exec:cat '${state}'`])
  while ((await statusOf(it)) === 'inmigrate') await sleep(20)
  return it
}

async function startOn(
  t: After,
  qemu: QemuBuild,
  files: readonly string[],
  args: readonly string[] = [],
): Promise<RamGuest> {
  const dir = tmpDir(t)
  const [qmp, own] = ['qmp', 'own'].map((name) => join(dir, name))
  const sockets = [qmp, own].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`])
  const disks = files.map((file) => ({ file }))
  const guest = await startGuest(t, { qemu, role: 'writer', disks, args: [...sockets, ...args] })
  const monitor = await connected(own, guest)
  t.after(() => monitor.close())
  return { guest, dir, qmp, monitor }
}

async function connected(path: string, guest: Guest): Promise<QmpClient> {
  for (const end = Date.now() + START_MS; ; await sleep(20)) {
    try {
      return await QmpClient.connect(path)
    } catch (error) {
      if (Date.now() > end) throw new Error(`no monitor: ${guest.console.tail()}`, { cause: error })
    }
  }
}

export async function statusOf({ monitor }: RamGuest): Promise<string> {
  return (await monitor.execute<any>('query-status')).status
}

/** The guest goes on without one error, and nothing of ours is left in QEMU. */
export async function assertUnharmed(it: RamGuest): Promise<void> {
  const { guest, monitor } = it
  await guest.waitFor(`ACK ${guest.acked + 20}`)
  assert.deepEqual(guest.console.diskErrors, [])
  assert.equal(await statusOf(it), 'running')
  assert.deepEqual(namesIn(await footprintOf(monitor)), [])
  assert.equal(await snapshotsMemory(it), false)
}

/** The next migration would be a background snapshot. */
export async function snapshotsMemory({ monitor }: RamGuest): Promise<boolean | undefined> {
  const all = await monitor.execute<{ capability: string; state: boolean }[]>('query-migrate-capabilities')
  return all.find(({ capability }) => capability === 'background-snapshot')?.state
}
