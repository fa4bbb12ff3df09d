/** What a run tells while it goes on, and how each guest is doing. */

import type { Snapshot } from '../../core/meter.ts'
import type { GuestReport, RunReport } from '../report.ts'

export type GuestPhase =
  | 'waiting'
  | 'preparing'
  | 'backup'
  | 'verify'
  | 'copy'
  | 'boot'
  | 'retry'
  | GuestReport['outcome']

/** How a guest is doing. */
export interface GuestProgress {
  guest: string
  phase: GuestPhase
  attempts: number
  /** Of the backup that runs. */
  snapshot: Snapshot | null
  /** Why it failed, or what it waits for. */
  reason: string | null
  /** When it is tried again, as ISO 8601. */
  again: string | null
}

/** How a run is doing. */
export interface RunStatus {
  version: 1
  job: string
  run: string
  pid: number
  started: string
  /** What the run as a whole does or waits for. */
  doing: string
  /** Bytes a second of all guests together; null for no limit. */
  rate: number | null
  guests: GuestProgress[]
}

export type RunEvent =
  | { type: 'begin'; run: string; guests: readonly string[] }
  | { type: 'guest'; progress: GuestProgress }
  | { type: 'note'; level: 'info' | 'warning'; text: string; guest?: string }
  | { type: 'end'; report: RunReport }
