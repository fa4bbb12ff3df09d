/** The filesystems of a guest's drives, and how a user names them: `drive-scsi0:1`, `drive-scsi0`, `lvm:vg/root`. */

import { VmapipeError } from '../../core/errors.ts'
import type { Guestfish } from './guestfish.ts'

/** A filesystem on a drive, a partition or a volume. */
export interface Filesystem {
  /** What the user types. */
  name: string
  /** What the reader calls it: /dev/sda1. */
  device: string
  /** ext4, xfs, ntfs, … */
  type: string
  label: string
  /** Bytes of what it is on; null if that is not known. */
  size: number | null
}

/** What is no filesystem with files. */
const OTHERS = new Set(['swap', 'unknown', '', 'LVM2_member', 'linux_raid_member'])

/** `drives`: names in the order in which they became /dev/sda, /dev/sdb, … */
export async function findFilesystems(fish: Guestfish, drives: readonly string[]): Promise<Filesystem[]> {
  const lines = (await fish.run('list-filesystems')).split('\n')
  const found = lines.flatMap((line) => {
    const [, device, type] = /^(\/dev\/\S+): (.*)$/.exec(line) ?? []
    const name = device === undefined ? null : nameOf(device, drives)
    return name === null || OTHERS.has(type) ? [] : [{ name, device, type }]
  })
  const facts = await fish.runAll(
    found.flatMap(({ device }) => [
      ['-vfs-label', device],
      ['-blockdev-getsize64', device],
    ]),
  )
  return found.map((filesystem, index) => {
    const [label, size] = [facts[index * 2], facts[index * 2 + 1]].map((text) => text.replace(/\n$/, ''))
    return { ...filesystem, label, size: /^\d+$/.test(size) ? Number(size) : null }
  })
}

/** LUKS and others that need a secret are not opened. */
function nameOf(device: string, drives: readonly string[]): string | null {
  const [, letters, partition] = /^\/dev\/sd([a-z]+)(\d*)$/.exec(device) ?? []
  if (letters !== undefined) {
    const drive = drives[indexOf(letters)]
    return drive === undefined ? null : partition === '' ? drive : `${drive}:${partition}`
  }
  const [, group, volume] = /^\/dev\/([^/]+)\/([^/]+)$/.exec(device) ?? []
  if (group !== undefined && group !== 'mapper') return `lvm:${group}/${volume}`
  const [, array] = /^\/dev\/(md[^/]+)$/.exec(device) ?? []
  return array === undefined ? null : `md:${array}`
}

/** a is 0, z is 25, aa is 26. */
function indexOf(letters: string): number {
  return [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 96, 0) - 1
}

/** The one that the user means. A drive's name alone means its only filesystem. Throws USAGE. */
export function chooseFilesystem(all: readonly Filesystem[], wanted: string): Filesystem {
  const exact = all.find(({ name }) => name === wanted)
  if (exact !== undefined) return exact
  const within = all.filter(({ name }) => name.startsWith(`${wanted}:`))
  if (within.length === 1) return within[0]
  const names = (within.length > 0 ? within : all).map(({ name }) => name).join(', ')
  const problem = within.length > 0 ? `has ${within.length} filesystems` : 'has no filesystem that can be read'
  throw new VmapipeError('USAGE', `'${wanted}' ${problem}`, {
    hint: names === '' ? undefined : `there are ${names}`,
  })
}
