/**
 * Whether a work that did not succeed is tried again, and when. A host already tries again by itself what failed for a moment, so the planner
 * waits longer, and gives up sooner. What died with its host is tried again on the host when it is back, or where the guest is then.
 */

import type { ErrorCode } from '../../core/errors.ts'
import { isLasting } from '../../jobs/run/retries.ts'

/** Times that a work is given to a host, in all. */
export const MOST_ATTEMPTS = 5
/** After the first failure; doubled each time. */
const FIRST_PAUSE_MS = 300_000
const LONGEST_PAUSE_MS = 3_600_000
/** Hosts look at their guests each minute, and one that was moved may not be told yet. */
const MOVED_PAUSE_MS = 120_000
/** After the second death of a host with this work: a backup that fells its host must not do so all night. */
const FIRST_LOST_PAUSE_MS = 60_000

export interface Unsuccessful {
  /** `lost`: its host died, or was started again. `refused`: the host has no such job or guest. */
  outcome: 'failed' | 'lost' | 'refused' | 'canceled' | 'skipped'
  /** The kind of the error, if it is known. */
  code: ErrorCode | null
  /** One line. */
  reason: string
  /** Times that it was given to a host so far. */
  attempt: number
  /** The host has it no more: the guest is on another one now. */
  hasMoved: boolean
  /** Some host has told that it has the guest, which may have moved since then. */
  mayHaveMoved?: boolean
}

export type Verdict =
  | { again: true; notBefore: number; reason: string }
  /** It is given up. */
  | { again: false; reason: string }

export function retryOf(
  { outcome, code, reason, attempt, hasMoved, mayHaveMoved = false }: Unsuccessful,
  now: number,
): Verdict {
  if (outcome === 'canceled') return { again: false, reason }
  if (attempt >= MOST_ATTEMPTS) return { again: false, reason: `given up after ${attempt} attempts: ${reason}` }
  // Where it is now nothing has failed yet.
  if (hasMoved) return { again: true, notBefore: now, reason }
  const lasts = outcome === 'refused' || outcome === 'skipped' || (code !== null && isLasting({ code }))
  if (outcome !== 'lost') {
    if (outcome === 'refused' && mayHaveMoved && attempt < 2)
      return { again: true, notBefore: now + MOVED_PAUSE_MS, reason }
    if (lasts) return { again: false, reason }
    return { again: true, notBefore: now + paused(FIRST_PAUSE_MS, attempt), reason }
  }
  return { again: true, notBefore: attempt < 2 ? now : now + paused(FIRST_LOST_PAUSE_MS, attempt - 1), reason }
}

function paused(first: number, attempt: number): number {
  return Math.min(LONGEST_PAUSE_MS, first * 2 ** (attempt - 1))
}
