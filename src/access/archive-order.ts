/** The bytes of drives in the order of their archive, so that each part of the archive is read and decompressed once. */

import type { ImageReader, Placed } from './image-reader.ts'

/** A range of bytes of one of several drives. */
export interface DriveRange {
  /** The index of the drive. */
  drive: number
  offset: number
  length: number
}

/** The most bytes of zeroes that are joined. */
const MAX_ZEROES = 2 ** 30

/** What several can do at once of a drive that is not in an archive's extents. */
const PART = 64 << 20

/** All bytes of the drives. A drive that cannot tell where it is in the archive comes last, from its front to its end. */
export function* inArchiveOrder(drives: readonly ImageReader[]): Generator<DriveRange> {
  let zeroes = null as DriveRange | null
  for (const [drive, placed] of byExtent(drives)) {
    const { offset, length, stored } = placed
    if (!stored && zeroes?.drive === drive && zeroes.offset + zeroes.length === offset && zeroes.length < MAX_ZEROES) {
      zeroes.length += length
      continue
    }
    if (zeroes !== null) yield zeroes
    zeroes = stored ? null : { drive, offset, length }
    if (stored) yield { drive, offset, length }
  }
  if (zeroes !== null) yield zeroes
  for (const [drive, { size, places }] of drives.entries()) {
    for (let offset = 0; !places && offset < size; offset += PART) {
      yield { drive, offset, length: Math.min(PART, size - offset) }
    }
  }
}

/** Sorts by counting, because a large archive has millions of them. */
function* byExtent(drives: readonly ImageReader[]): Generator<[drive: number, placed: Placed]> {
  const starts = countPlaces(drives)
  const total = starts.at(-1)!
  const [driveOf, offsetOf] = [new Uint8Array(total), new Float64Array(total)]
  const next = starts.slice()
  for (const [drive, placed] of places(drives)) {
    const at = next[slotOf(placed, starts)]++
    driveOf[at] = drive
    offsetOf[at] = placed.offset
  }
  for (let at = 0; at < total; at++) {
    const drive = driveOf[at]
    const reader = drives[drive]
    // Cut at the byte, a place is found again whole: it is as long as its run.
    for (const placed of reader.places!(offsetOf[at], reader.size - offsetOf[at])) {
      yield [drive, placed]
      break
    }
  }
}

/** Where the places of each extent begin among all that are sorted; those in none come last. */
function countPlaces(drives: readonly ImageReader[]): Uint32Array {
  let extents = 0
  for (const [, { extent }] of places(drives)) extents = Math.max(extents, extent + 1)
  const counts = new Uint32Array(extents + 2)
  for (const [, placed] of places(drives)) counts[slotOf(placed, counts) + 1]++
  for (let slot = 1; slot < counts.length; slot++) counts[slot] += counts[slot - 1]
  return counts
}

/** `slots` has one for each extent, one for none, and one more. */
function slotOf({ extent }: Placed, slots: Uint32Array): number {
  return extent < 0 ? slots.length - 2 : extent
}

function* places(drives: readonly ImageReader[]): Generator<[drive: number, placed: Placed]> {
  for (const [drive, reader] of drives.entries()) {
    for (const placed of reader.places?.(0, reader.size) ?? []) yield [drive, placed]
  }
}
