/** How a guest is protected: by the age of its last good backup and what its jobs promise. */

import { formatDuration } from '../../core/duration.ts'
import type { FleetGuestRow } from '../fleet.ts'

export interface GuestFacts {
  /** Milliseconds since 1970; null if there is no good backup. */
  lastGood: number | null
  /** Seconds, the least of its jobs; null if they promise nothing. */
  promise: number | null
  /** The jobs of its host that it is in. */
  jobs: readonly string[]
  host: string
  isHostGone: boolean
}

export function guestState(
  { lastGood, promise, jobs, host, isHostGone }: GuestFacts,
  now: number,
): Pick<FleetGuestRow, 'state' | 'problem'> {
  if (isHostGone) return { state: 'unprotected', problem: `its host ${host} is gone` }
  if (jobs.length === 0) return { state: 'unprotected', problem: 'it is in no job' }
  if (lastGood === null) return { state: 'overdue', problem: 'it has no good backup' }
  if (promise === null) return { state: 'good', problem: null }
  const age = (now - lastGood) / 1000
  if (age <= promise) return { state: 'good', problem: null }
  const problem = `its last good backup is ${formatDuration(age)} old; ${formatDuration(promise)} are promised`
  return { state: age <= 2 * promise ? 'late' : 'overdue', problem }
}

/** How long a guest that is good now stays so if nothing but time changes, in milliseconds since 1970. */
export function goodUntilOf(lastGood: number | null, promise: number | null): number {
  return lastGood === null || promise === null ? Number.POSITIVE_INFINITY : lastGood + promise * 1000
}

/** The least that jobs promise; null if none promises anything. */
export function leastPromise(promises: readonly (number | null)[]): number | null {
  const told = promises.filter((promise) => promise !== null)
  return told.length === 0 ? null : Math.min(...told)
}
