/** What a run tells while it goes on, and how each guest is doing. */

import type { Snapshot } from '../../core/meter.ts'
import type { RunStats } from '../../core/stats.ts'
import type { GuestReport, RunReport } from '../report.ts'
import type { LatencyView } from './latency.ts'

/** What is done with a guest. It begins with `waiting`; the last one is its outcome. */
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
  /** When the last attempt began, as ISO 8601. */
  began: string | null
  /** Of the backup that runs. */
  snapshot: Snapshot | null
  /** What each stage of the pipeline did with its time up to now. */
  stats: RunStats | null
  /** How long the guest's writes take; null for drives at rest. */
  latency: LatencyView | null
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

/**
 * What a run tells: the guests when they were found, how one of them is doing (about once a second while it is backed up), a line for the
 * log, and the report at its end.
 */
export type RunEvent =
  | { type: 'begin'; run: string; guests: readonly string[] }
  | { type: 'guest'; progress: GuestProgress }
  | { type: 'note'; level: 'info' | 'warning'; text: string; guest?: string }
  | { type: 'end'; report: RunReport }
