/**
 * The names of our dirty bitmaps in a QEMU. They say whose point in time a bitmap begins at, and whether it still belongs to the
 * drive that it is found on. Any program can give a bitmap such a name, and an image can bring one: they are checked like all input.
 *
 *     vmapipe-since-TARGET-UUID-SEAL-TIME    every cluster that was written since the point in time of the archive UUID
 *     vmapipe-end-TARGET-UUID-SEAL-TIME      disabled; it has the drive's last cluster alone, until somebody makes the drive smaller
 *     vmapipe-frozen                         disabled; what a running backup reads
 */

import { createHash } from 'node:crypto'

/** Names one point in time of a drive, in 16 or 32 hexadecimal digits each. */
export interface BitmapKey {
  /** Where the archives go. Each target has bitmaps of its own. */
  target: string
  /** The archive that the bitmap begins at. */
  uuid: string
  /** What the drive was: its name in the archive, its image, and what is below that. */
  seal: string
  /** When it was made, in seconds since the epoch. */
  time: number
}

const SINCE = 'vmapipe-since'
const END = 'vmapipe-end'
export const FROZEN = 'vmapipe-frozen'

const KEY = /^vmapipe-(?:since|end)-([0-9a-f]{16})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9]{1,11})$/

export function sinceName(key: BitmapKey): string {
  return `${SINCE}-${suffixOf(key)}`
}

/** Goes with `sinceName`. */
export function endName(key: BitmapKey): string {
  return `${END}-${suffixOf(key)}`
}

export function isSince(name: string): boolean {
  return name.startsWith(`${SINCE}-`) && KEY.test(name)
}

/** Null if the bitmap is not one of ours. */
export function keyOf(name: string): BitmapKey | null {
  const [, target, uuid, seal, time] = KEY.exec(name) ?? []
  return target === undefined ? null : { target, uuid, seal, time: Number(time) }
}

/** 16 hexadecimal digits for anything that can be compared as text. QEMU migrates bitmaps with names of up to 255 bytes only. */
export function digestOf(...parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16)
}

/** The digits of a uuid. */
export function plainUuid(uuid: string): string {
  return uuid.replaceAll('-', '').toLowerCase()
}

function suffixOf({ target, uuid, seal, time }: BitmapKey): string {
  return `${target}-${uuid}-${seal}-${time}`
}
