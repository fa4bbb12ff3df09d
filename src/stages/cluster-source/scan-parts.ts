/** Cuts a drive into pieces to read, along its holes. */

import { CLUSTER_SIZE, clusterCount } from '../../core/geometry.ts'
import { SLOTS_USED } from '../../formats/vma/extent.ts'
import type { DriveReader } from '../../storage/drive.ts'

/** Clusters of one drive that are read at once, or are known to be zero. */
export interface ScanPart {
  first: number
  count: number
  zero: boolean
}

/** One full extent. */
const DATA_CLUSTERS = SLOTS_USED
/** A hole costs nothing but its slots: in pieces of 64 extents, so that the drives still take turns. */
const ZERO_CLUSTERS = SLOTS_USED * 64

/**
 * All clusters of the drive in order, data in pieces of at most `most` clusters. A cluster is zero where no data reaches into it.
 * Pieces end where a multiple of `most` does: what changes in one place of a drive moves nothing elsewhere, in which extent
 * clusters are, and an extent is filled by one piece.
 */
export async function* scanParts(
  reader: Pick<DriveReader, 'map' | 'size'>,
  most = DATA_CLUSTERS,
): AsyncGenerator<ScanPart> {
  const clusters = clusterCount(reader.size)
  // Data that is still to be handed out: extents that touch, or share a cluster, become one stretch.
  let from = 0
  let to = 0
  for await (const { offset, length, zero } of reader.map(0, reader.size)) {
    if (zero) continue
    const first = Math.floor(offset / CLUSTER_SIZE)
    if (first > to) {
      yield* cut(from, to, false, most)
      yield* cut(to, first, true, ZERO_CLUSTERS)
      from = first
    }
    to = Math.max(to, Math.ceil((offset + length) / CLUSTER_SIZE))
    // A long stretch is not held back until it ends.
    while (to - from > most) {
      const count = most - (from % most)
      yield { first: from, count, zero: false }
      from += count
    }
  }
  yield* cut(from, to, false, most)
  yield* cut(to, clusters, true, ZERO_CLUSTERS)
}

function* cut(from: number, to: number, zero: boolean, most: number): Generator<ScanPart> {
  for (let first = from, count = 0; first < to; first += count) {
    count = Math.min(most - (first % most), to - first)
    yield { first, count, zero }
  }
}
