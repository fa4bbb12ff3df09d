/** Defines the parent of an incremental backup, as the change-filter sees it: what each cluster was, without its data. */

import type { ClusterRange } from '../../core/cluster-set.ts'
import type { ParentRecord } from '../../core/items.ts'

/** `unknown`: the parent does not say what the clusters were, so they count as changed. */
export type ClusterState = 'zero' | 'stored' | 'unknown'

/** Clusters that follow each other and are in one state. */
export interface StateRange extends ClusterRange {
  state: ClusterState
}

/** A drive as it was when the parent was made. */
export interface ParentDrive {
  /** The number of clusters that it had. */
  readonly clusters: number
  /** The states of these clusters, in order. All of them are within the drive. A hole of TiBs is a few ranges. */
  states(first: number, count: number): Iterable<StateRange>
  /** The hashes of these clusters, 16 bytes for each; zero bytes for a cluster that is not stored. */
  hashes(first: number, count: number): Promise<Uint8Array>
}

/** The archive that an incremental backup is made against. */
export interface Parent {
  readonly record: ParentRecord
  /** The drive of this name; null if the parent does not have it. */
  drive(name: string): ParentDrive | null
}
