/** Where the bytes of a drive are in an extent. */

import { BLOCK_SIZE, CLUSTER_SIZE, popcount16 } from '../core/geometry.ts'
import { EXTENT_HEADER_SIZE, type ExtentHeader } from '../formats/vma/extent.ts'

/** Bytes of a drive that are zero, or lie together in the archive. */
export interface Segment {
  /** In the extent, from its header on; -1 for zeroes. */
  at: number
  length: number
}

/**
 * The bytes `offset` to `end` (not included) of a drive, all of clusters that the extent has, as segments as long as
 * they can be.
 */
export function segmentsOf({ slots }: ExtentHeader, drive: number, offset: number, end: number): Segment[] {
  const segments: Segment[] = []
  const add = (at: number, length: number) => {
    const last = segments.at(-1)
    if (last !== undefined && (at < 0 ? last.at < 0 : last.at >= 0 && last.at + last.length === at))
      last.length += length
    else segments.push({ at, length })
  }
  const places = placesOf(slots, drive)
  for (let position = offset; position < end; ) {
    const cluster = Math.floor(position / CLUSTER_SIZE)
    const { mask, at } = places.get(cluster)!
    const within = position - cluster * CLUSTER_SIZE
    if (mask === 0) {
      const length = Math.min(end - position, CLUSTER_SIZE - within)
      add(-1, length)
      position += length
      continue
    }
    const block = Math.floor(within / BLOCK_SIZE)
    const length = Math.min(end - position, (block + 1) * BLOCK_SIZE - within)
    const isStored = ((mask >>> block) & 1) === 1
    const before = popcount16(mask & ((1 << block) - 1)) * BLOCK_SIZE
    add(isStored ? at + before + (within % BLOCK_SIZE) : -1, length)
    position += length
  }
  return segments
}

/** By cluster: its mask, and where in the extent its first stored block is. */
function placesOf(slots: ExtentHeader['slots'], drive: number): Map<number, { mask: number; at: number }> {
  const places = new Map<number, { mask: number; at: number }>()
  let at = EXTENT_HEADER_SIZE
  for (const slot of slots) {
    if (slot.drive === drive) places.set(slot.cluster, { mask: slot.mask, at })
    at += popcount16(slot.mask) * BLOCK_SIZE
  }
  return places
}
