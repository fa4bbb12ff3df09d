/** Cuts a drive into parts for the scan, along its holes. */

import type { ClusterRange } from '../../core/cluster-set.ts'
import { CLUSTER_SIZE, clusterCount } from '../../core/geometry.ts'
import { SLOTS_USED } from '../../formats/vma/extent.ts'
import type { DriveReader } from '../../storage/drive.ts'

/** Clusters of one drive that are read together, or that are known to be zero. */
export interface ScanPart {
  first: number
  count: number
  zero: boolean
}

/** The clusters of one full extent. */
const DATA_CLUSTERS = SLOTS_USED
/** A hole takes only slots. Its parts have 64 extents, so that the drives still take turns. */
const ZERO_CLUSTERS = SLOTS_USED * 64

/**
 * Gives all clusters of the drive, or those of a range, in order, data in parts of at most `most` clusters. A cluster without data is zero. Parts end at
 * multiples of `most`: one part fills one extent, and a change in one place of a drive does not move other clusters to other extents.
 */
export async function* scanParts(
  reader: Pick<DriveReader, 'map' | 'size'>,
  most = DATA_CLUSTERS,
  range: ClusterRange = { first: 0, count: clusterCount(reader.size) },
): AsyncGenerator<ScanPart> {
  const clusters = range.first + range.count
  const start = range.first * CLUSTER_SIZE
  const bytes = Math.min(range.count * CLUSTER_SIZE, reader.size - start)
  // Data from cluster `from` to `to` that is not given out yet. Extents that touch or share a cluster are joined.
  let from = range.first
  let to = range.first
  for await (const { offset, length, zero } of reader.map(start, bytes)) {
    if (zero) continue
    const first = Math.floor(offset / CLUSTER_SIZE)
    if (first > to) {
      yield* cut(from, to, false, most)
      yield* cut(to, first, true, ZERO_CLUSTERS)
      from = first
    }
    to = Math.max(to, Math.ceil((offset + length) / CLUSTER_SIZE))
    // Long data is given out before it ends.
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
