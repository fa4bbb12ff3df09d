/** Checks the data of an extent against the checksum in its header (README.md beside this file, section 1). */

import { BLAKE3, CRC32, checksumOf } from './checksum.ts'
import { type ClusterHasher, HASH_BYTES, NOTHING_STORED, storedHashes } from './cluster-hash.ts'
import type { ExtentHeader, Slot } from './extent.ts'
import { SLOTS } from './extent-header.ts'

/** The hashes of clusters that store nothing: for extents without blocks, of which a large disk has a million. */
export const NO_HASHES: Uint8Array = new Uint8Array(SLOTS * HASH_BYTES)

type Checkable = Pick<ExtentHeader, 'blocks' | 'slots' | 'checksum'>

/** Whether the extent has a checksum of a kind that we know. */
export function isCheckable({ checksum }: Checkable): boolean {
  return checksum?.algorithm === CRC32 || checksum?.algorithm === BLAKE3
}

/** Whether the checksum of the extent is made of the hashes of its clusters. */
export function hasHashes({ checksum }: Checkable): boolean {
  return checksum?.algorithm === BLAKE3
}

/** The masks of the slots. `Uint16Array.from` takes a hundred times as long, and a sparse disk has a million extents. */
export function masksOf(slots: readonly Slot[]): Uint16Array {
  const masks = new Uint16Array(slots.length)
  for (let index = 0; index < slots.length; index++) masks[index] = slots[index].mask
  return masks
}

/** Checks the hashes of the clusters of all slots against the checksum that is made of them. */
export function hashesMatch(extent: Checkable, hashes: Uint8Array, hasher: ClusterHasher): boolean {
  const { blocks, slots, checksum } = extent
  if (blocks === 0) return checksum?.value === NOTHING_STORED
  return hasher.extentChecksum(storedHashes(masksOf(slots), hashes)) === checksum?.value
}

/** Whether the checksum of an extent that is checkable is that of its blocks. */
export function checkExtent(extent: Checkable, blocks: readonly Uint8Array[], hasher: ClusterHasher): boolean {
  if (!hasHashes(extent)) return checksumOf(blocks) === extent.checksum?.value
  return hashesMatch(extent, hasher.hashes(masksOf(extent.slots), blocks), hasher)
}
