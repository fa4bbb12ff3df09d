/** How a QEMU is made to push old data to us: by filters (guarded push) or by backup jobs (plain push). */

import type { ClusterSet } from '../../../core/cluster-set.ts'
import type { VmapipeError } from '../../../core/errors.ts'
import type { NbdClient } from '../../../protocol/nbd/client.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'

/** A drive of the guest as it takes part in a backup. */
export interface PushDrive {
  /** The name in the archive. */
  name: string
  /** The node that its device uses. */
  node: string
  /** QOM path of the device. */
  device: string
  /** Bytes. */
  size: number
}

export interface PushEvents {
  failed(error: VmapipeError): void
  /** Nothing more will be pushed. */
  done(): void
}

export interface Attachment {
  /** Sets the point in time. If it fails, `remove` takes out what was put in. */
  insert(qmp: QmpClient, events: PushEvents): Promise<void>
  /** After `insert`: what is to be read of each drive; null for all of it. A number of clusters if only QEMU knows which. */
  changed?(qmp: QmpClient): Promise<(ClusterSet | number | null)[]>
  /** After `insert`: connections by which the scan reads each drive at the point in time; null if everything is pushed to us. */
  pull(): Promise<NbdClient[]> | null
  /** May be called at any time, and more than once. FAILED if something is left. */
  remove(qmp: QmpClient): Promise<void>
}
