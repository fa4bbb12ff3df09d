/**
 * Decides which of two puts a cluster into the archive: the scan, or a guest's write that needs its old data first. The one
 * that claims a cluster reads it, once, and settles the claim as soon as the old data is in memory. If old data arrives by itself
 * (live/qemu), it may arrive for a cluster that the scan is reading. Then the first to settle the cluster archives it.
 */

import type { ClusterRange } from '../../core/cluster-set.ts'
import type { DriveReader } from '../../storage/drive.ts'

export interface ClusterClaims {
  /** The number of these clusters that are not claimed yet. */
  free(first: number, count: number): number
  /** Claims the clusters that are still free, at most `most` of them. */
  claim(first: number, count: number, most: number): ClusterRange[]
  /** Call when the old data of these claimed clusters is in memory: they may be overwritten now. Returns those that the scan archives. */
  settle(first: number, count: number): ClusterRange[]
}

/** A drive that is written to while it is read. */
export interface ClaimedReader extends DriveReader {
  readonly claims: ClusterClaims
}

/** The claims of a drive that is not written to: the scan archives all clusters. */
export const UNCLAIMED: ClusterClaims = {
  free: (_, count) => count,
  claim: (first, count) => [{ first, count }],
  settle: (first, count) => [{ first, count }],
}

export function claimsOf(reader: DriveReader): ClusterClaims {
  return 'claims' in reader ? (reader as ClaimedReader).claims : UNCLAIMED
}
