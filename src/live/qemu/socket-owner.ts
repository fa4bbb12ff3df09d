/** The user that QEMU runs as, if we are root: QEMU must be able to enter the folder of our sockets. */

import { readFile, stat } from 'node:fs/promises'
import type { MonitorPlace } from './monitor.ts'

/** A user id; undefined if it is ours, if it is unknown, or if we are not root. */
export async function socketOwner(place: MonitorPlace): Promise<number | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const uid = await ownerOf(place).catch(() => 0)
  return uid === 0 ? undefined : uid
}

async function ownerOf({ qmp, libvirt }: MonitorPlace): Promise<number> {
  if (qmp !== undefined) return (await stat(qmp)).uid
  const pid = (await readFile(`/run/libvirt/qemu/${libvirt}.pid`, 'utf8')).trim()
  return (await stat(`/proc/${Number(pid)}`)).uid
}
