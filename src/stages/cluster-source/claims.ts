/**
 * Who puts a cluster into the archive, where two may: the scan, or a guest's write that needs its old data first.
 * Whoever claims a cluster reads it, once, and settles the claim when the old data is in memory. Where old data comes
 * by itself (live/qemu) it may come for a cluster that the scan is reading: then the first to settle it archives it.
 */

import type { ClusterRange } from '../../core/cluster-set.ts'
import type { DriveReader } from '../../storage/drive.ts'

export interface ClusterClaims {
  /** How many of these clusters nobody has claimed yet. */
  free(first: number, count: number): number
  /** Claims those that are still free, at most `most` of them. */
  claim(first: number, count: number, most: number): ClusterRange[]
  /** The old data of these, which were claimed, is in memory: they may be overwritten. Those that the scan has to archive. */
  settle(first: number, count: number): ClusterRange[]
}

/** A drive that is written to while it is read. */
export interface ClaimedReader extends DriveReader {
  readonly claims: ClusterClaims
}

/** Of a drive that nobody writes to: everything is the scan's. */
export const UNCLAIMED: ClusterClaims = {
  free: (_, count) => count,
  claim: (first, count) => [{ first, count }],
  settle: (first, count) => [{ first, count }],
}

export function claimsOf(reader: DriveReader): ClusterClaims {
  return 'claims' in reader ? (reader as ClaimedReader).claims : UNCLAIMED
}
