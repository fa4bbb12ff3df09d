/** What the control socket needs of a service: its status, and backups. The service itself is in live/service.ts. */

import type { Writable } from 'node:stream'
import type { BoundStage } from '../../core/stage.ts'
import type { UpstreamStatus } from '../../protocol/nbd/lasting-connection.ts'
import type { ServerStats } from '../../protocol/nbd/server/stats.ts'
import type { SharedPlace } from '../../system/shared-memory.ts'
import type { BackupMemory } from '../backup-memory.ts'
import type { LiveBackupOptions, LiveBackupStatus } from '../live-backup.ts'
import type { TrackedSince } from '../tracking/change-tracker.ts'

export interface ControlledService {
  readonly status: ServiceStatus
  /** The memory of its backups. */
  readonly memory: BackupMemory
  /** Throws USAGE for what cannot be archived, and FAILED while another backup runs. */
  checkBackup(request: BackupRequest): void
  /** Resolves when the archive is whole and `to` has ended; otherwise rejects. */
  backUp(request: BackupRequest, to: Writable | BoundStage): Promise<void>
  /** Changes the bytes a second that the backup that runs scans. False if none runs. */
  limitBackup(rate: number): boolean
  /** Gives up the backup that runs, and waits until it has ended. False if none runs. */
  abortBackup(reason: string): Promise<boolean>
}

export interface BackupOutcome {
  /** Seconds since the epoch. */
  ended: number
  complete: boolean
  /** One line if it is not complete, otherwise null. */
  error: string | null
  status: LiveBackupStatus
}

/** How a disk server is doing. */
export interface ServiceStatus {
  pid: number
  /** Seconds since the epoch. */
  started: number
  /**
   * `tracked`: the archives since which it is known what the guest has changed, or why none. A service that is older does not say it.
   * `upstream`: of the server that a drive is on, such as another NBD server or the qemu-nbd of an image.
   */
  drives: { name: string; size: number; readOnly: boolean; tracked?: TrackedSince; upstream?: UpstreamStatus }[]
  nbd: ServerStats
  /** Where another process finds the shared memory that backups use; null if it is not shared. */
  memory: SharedPlace | null
  /** The backup that runs, and the last one that ended. */
  backup: LiveBackupStatus | null
  last: BackupOutcome | null
}

export type BackupRequest = Omit<LiveBackupOptions, 'drives' | 'to' | 'arena'> & {
  /** Names of the drives; all unless given. */
  drives?: string[]
}
