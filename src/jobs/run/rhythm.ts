/** Whether the next archive of a guest has to be a full one. */

import type { Rhythm } from '../file/values.ts'

/** What a guest has: when its chain began, in milliseconds since 1970, and how many archives it is of. */
export interface ChainAge {
  began: number
  archives: number
}

/** A run begins some minutes earlier or later than the one before: so much of a time is forgiven. */
const TOLERANCE = 0.02
const MOST_TOLERANCE_MS = 3 * 3_600_000

/** Why the archive has to be a full one; null if it may be incremental. */
export function fullIsDue(rhythm: Rhythm | undefined, chain: ChainAge, now: number): string | null {
  if (rhythm === undefined || rhythm.kind === 'always') return 'every archive of this job is'
  if (rhythm.kind === 'never') return null
  if (rhythm.kind === 'count')
    return chain.archives >= rhythm.every ? `one of ${rhythm.every} is, and the chain has ${chain.archives}` : null
  // A clock that was set back must not keep a chain for ever.
  if (chain.began > now) return 'the full archive is of the future'
  if (rhythm.kind === 'time') {
    const tolerance = Math.min(rhythm.milliseconds * TOLERANCE, MOST_TOLERANCE_MS)
    return now - chain.began >= rhythm.milliseconds - tolerance ? 'the last one is too old' : null
  }
  return periodOf(rhythm.unit, chain.began) === periodOf(rhythm.unit, now)
    ? null
    : `there is none of this ${rhythm.unit} yet`
}

/** Whether something that happens in this rhythm is due; `last` is null if it never was. */
export function isDue(rhythm: Rhythm, last: number | null, now: number): boolean {
  if (rhythm.kind === 'never') return false
  if (last === null || rhythm.kind === 'always' || rhythm.kind === 'count') return true
  return fullIsDue(rhythm, { began: last, archives: 1 }, now) !== null
}

/** A text that is the same for all times of one day, week (from Monday), month or year of this host's zone. */
function periodOf(unit: 'day' | 'week' | 'month' | 'year', milliseconds: number): string {
  const time = new Date(milliseconds)
  if (unit === 'week') time.setDate(time.getDate() - ((time.getDay() + 6) % 7))
  const parts = [time.getFullYear(), time.getMonth(), time.getDate()]
  return parts.slice(0, unit === 'year' ? 1 : unit === 'month' ? 2 : 3).join('-')
}
