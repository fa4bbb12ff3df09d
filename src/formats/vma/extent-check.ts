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

interface Checked {
  matches: boolean
  /** The hashes of the clusters of all slots; null if the checksum is not made of them, or does not match. */
  hashes: Uint8Array | null
}

/** Checks the blocks of an extent that is checkable. */
export function checkExtent(
  { slots, checksum }: Checkable,
  blocks: readonly Uint8Array[],
  hasher: ClusterHasher,
): Checked {
  if (checksum?.algorithm !== BLAKE3) return { matches: checksumOf(blocks) === checksum?.value, hashes: null }
  const masks = masksOf(slots)
  const hashes = hasher.hashes(masks, blocks)
  const matches = hasher.extentChecksum(storedHashes(masks, hashes)) === checksum.value
  return { matches, hashes: matches ? hashes : null }
}
