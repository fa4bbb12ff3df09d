/**
 * Tells which clusters of a drive are worth reading for an incremental archive. All others are left out: nothing reads them, and the
 * archive does not have them. A drive that a guest writes to knows them at its point in time, and then says so by itself.
 */

import type { ClusterRange, ClusterSet } from '../../core/cluster-set.ts'
import { CLUSTER_SIZE, clusterCount } from '../../core/geometry.ts'
import type { DriveReader } from '../../storage/drive.ts'
import { type ScanPart, scanParts } from './scan-parts.ts'

/** Clusters that may have changed since the parent. */
export type ChangedClusters = Pick<ClusterSet, 'size' | 'count' | 'has' | 'runEnd'>

/** A drive that says by itself what may have changed. */
export interface ChangedReader extends DriveReader {
  /** Called once, when the scan begins, which is after the point in time. Null: everything is read. */
  changed(): ChangedClusters | null | Promise<ChangedClusters | null>
  /** Why all of it is read, if `changed` is null and an incremental backup was wanted; for the archive's record. */
  whole?(): string | null
}

/** Why drives are read as a whole, by name. */
export function wholeReasons(drives: readonly { name: string; reader: DriveReader }[]): Record<string, string> {
  const reasons: Record<string, string> = {}
  for (const { name, reader } of drives) {
    const reason = 'changed' in reader ? (reader as ChangedReader).whole?.() : null
    if (reason) reasons[name] = reason
  }
  return reasons
}

export async function changedOf(reader: DriveReader): Promise<ChangedClusters | null> {
  return 'changed' in reader ? (reader as ChangedReader).changed() : null
}

/** Changed clusters that are nearer than this (64 MiB) are asked for together: a question about holes costs a round trip. */
const NEAR = 1024

/** The bytes of a drive of `size` bytes that are not in the set. */
export function unchangedBytes(changed: ChangedClusters, size: number): number {
  return Math.max(0, size - changed.count * CLUSTER_SIZE)
}

/** Gives the changed clusters of the drive in order, in parts as scanParts does. */
export async function* changedParts(
  reader: Pick<DriveReader, 'map' | 'size'>,
  changed: ChangedClusters,
  most?: number,
): AsyncGenerator<ScanPart> {
  const clusters = clusterCount(reader.size)
  // A drive may be larger than it was when the set was made. What is behind its end is new.
  const known = Math.min(changed.size, clusters)
  for (const { first, count } of windows(changed, known, clusters)) {
    for await (const part of scanParts(reader, most, { first, count })) {
      for (const range of within(changed, known, part)) yield { ...range, zero: part.zero }
    }
  }
}

/** The changed clusters in ranges, with those between them that are few. */
function* windows(changed: ChangedClusters, known: number, clusters: number): Generator<ClusterRange> {
  let open: ClusterRange | null = null
  for (const { first, count } of within(changed, known, { first: 0, count: clusters })) {
    if (open !== null && first - (open.first + open.count) < NEAR) open.count = first + count - open.first
    else {
      if (open !== null) yield open
      open = { first, count }
    }
  }
  if (open !== null) yield open
}

function* within(changed: ChangedClusters, known: number, { first, count }: ClusterRange): Generator<ClusterRange> {
  const end = first + count
  for (let at = first; at < end; ) {
    const isNew = at >= known
    const to: number = isNew ? end : changed.runEnd(at, Math.min(end, known))
    if (isNew || changed.has(at)) yield { first: at, count: to - at }
    at = to
  }
}
