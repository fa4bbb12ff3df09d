/** Checks the data of an extent against the checksum in its header (README.md beside this file, section 1). */

import { BLAKE3, CRC32, checksumOf } from './checksum.ts'
import { type ClusterHasher, storedHashes } from './cluster-hash.ts'
import type { ExtentHeader, Slot } from './extent.ts'

type Checkable = Pick<ExtentHeader, 'slots' | 'checksum'>

/** Whether the extent has a checksum of a kind that we know. */
export function isCheckable({ checksum }: Checkable): boolean {
  return checksum?.algorithm === CRC32 || checksum?.algorithm === BLAKE3
}

/** Whether the checksum of the extent is made of the hashes of its clusters. */
export function hasHashes({ checksum }: Checkable): boolean {
  return checksum?.algorithm === BLAKE3
}

/** The masks of the slots. */
export function masksOf(slots: readonly Slot[]): Uint16Array {
  return Uint16Array.from(slots, ({ mask }) => mask)
}

/** Checks the hashes of the clusters of all slots against the checksum that is made of them. */
export function hashesMatch({ slots, checksum }: Checkable, hashes: Uint8Array, hasher: ClusterHasher): boolean {
  return hasher.extentChecksum(storedHashes(masksOf(slots), hashes)) === checksum?.value
}

/** Whether the checksum of an extent that is checkable is that of its blocks. */
export function checkExtent(extent: Checkable, blocks: readonly Uint8Array[], hasher: ClusterHasher): boolean {
  if (!hasHashes(extent)) return checksumOf(blocks) === extent.checksum?.value
  return hashesMatch(extent, hasher.hashes(masksOf(extent.slots), blocks), hasher)
}
