/** What became of one run of a job: what is kept of it, shown, mailed and counted. Times are ISO 8601, durations seconds, sizes bytes. */

import type { ErrorCode } from '../core/errors.ts'

/** What became of a run. Times are ISO 8601, sizes bytes. */
export interface RunReport {
  version: 1
  /** Name of the job: that of its file, without suffix. */
  job: string
  /** Identifies the run. */
  run: string
  host: string
  started: string
  ended: string
  /** `all` guests have new archives at all required places, `some`, or `none`. */
  outcome: 'all' | 'some' | 'none'
  guests: GuestReport[]
  /** What failed for all guests alike, such as a place that was not there: one line. */
  problem?: string
  /** What is about no guest alone, such as a place that was left out. */
  warnings?: string[]
  /** What retention removed. */
  removed: { place: string; archives: number; bytes: number }[]
  /** When the next run begins, if that is known. */
  next: string | null
}

/** What became of one guest in a run. Sizes are bytes. */
export interface GuestReport {
  guest: string
  outcome: 'done' | 'failed' | 'skipped' | 'canceled'
  /** The archive of the time at which it was due was there already, so nothing was done. */
  already?: boolean
  /** The error, or why it was skipped; one line. */
  reason?: string
  code?: ErrorCode
  hint?: string
  /** How many times it was tried. */
  attempts: number
  kind?: 'full' | 'incremental'
  /** Where the archives are. */
  places: string[]
  seconds?: number
  /** Bytes read from the drives, and written to each place. */
  read?: number
  stored?: number
  /** The longest time that a write of the guest waited, in milliseconds. */
  longestWait?: number
  verified?: boolean
  booted?: boolean
  warnings: string[]
}
