/** What a process of a backup is told, and what it tells: one JSON object a line, on its standard input and output. */

import type { Check } from '../../catalog/entry.ts'
import type { ErrorCode } from '../../core/errors.ts'
import type { Snapshot } from '../../core/meter.ts'
import type { RunStats } from '../../core/stats.ts'
import type { BackupOptions } from '../../operations/backup.ts'
import type { BackupGuestOptions } from '../../operations/backup-guest.ts'
import type { BackupProxmoxOptions } from '../../operations/proxmox/options.ts'
import type { Encryption } from '../../operations/write-archive.ts'
import type { LatencyView } from './latency.ts'

interface Common {
  /** Files with secret keys. */
  identities: readonly string[]
  /** Bytes a second in all; null for no limit. */
  rate: number | null
}

/** A backup of one guest. */
export type BackupTask = Common & {
  /** Whether the archives are read back when they are complete. */
  verify: boolean
} & (
    | { kind: 'guest'; options: BackupGuestOptions & { to: string } }
    | { kind: 'drives'; options: BackupOptions & { to: string } }
    | { kind: 'proxmox'; options: BackupProxmoxOptions & { to: string } }
    | {
        kind: 'pipeline'
        file: string
        set: Readonly<Record<string, string>>
        variables: Readonly<Record<string, string>>
        to: string
      }
  )

/** Archives that a place lacks, the oldest first. */
export type CopyTask = Common & {
  kind: 'copy'
  copies: readonly { from: string; to: string }[]
  encrypt: Encryption | undefined
}

/** An archive whose guest is booted. `limit`: milliseconds that it may take. */
export type BootTask = Common & { kind: 'boot'; from: string; limit: number } & Pick<Check, 'work'>

/** An archive that is read to its end. What is found is noted beside it. */
export type VerifyTask = Common & { kind: 'verify'; from: string } & Pick<Check, 'work'>

export type Task = BackupTask | CopyTask | BootTask | VerifyTask

export type ResultOf<T extends Task> = T extends BootTask | VerifyTask
  ? Check
  : T extends CopyTask
    ? CopyResult
    : BackupTaskResult

export interface CopyResult {
  places: string[]
}

/** A line to the process. If its input ends, it ends as if it were told so. */
export type Order = { type: 'rate'; rate: number | null } | { type: 'cancel'; reason: string }

/** What became of a backup. */
export interface BackupTaskResult {
  /** Where archives are, in the order of the places that were asked for. A place that is not required may have none. */
  places: string[]
  kind: 'full' | 'incremental'
  uuid: string
  ctime: number
  seconds: number
  /** Bytes. */
  read: number
  stored: number
  size: number
  /** Milliseconds. */
  longestWait?: number
  /** Whether each archive was whole when it was read back, by its place. */
  verified: Record<string, boolean>
  /** Why the first of those was not. */
  damage?: TaskError
}

export interface TaskError {
  code: ErrorCode
  message: string
  hint?: string
}

export type Phase = 'backup' | 'verify' | 'copy' | 'boot'

export type Telling =
  | { type: 'progress'; snapshot: Snapshot; stats: RunStats | null; latency: LatencyView | null }
  | { type: 'phase'; phase: Phase }
  | { type: 'note'; level: 'info' | 'warning'; text: string }
  | { type: 'done'; result: ResultOf<Task> }
  | { type: 'error'; error: TaskError }
