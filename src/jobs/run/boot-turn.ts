/** Boots one guest a night from its new archive, each in its turn. */

import type { Job } from '../file/schema.ts'
import type { RunReport } from '../report.ts'
import type { GuestState } from '../state/job-state.ts'
import type { GuestRun } from './guest-run.ts'
import { isDue } from './rhythm.ts'

const WEEK_MS = 7 * 86_400_000

interface TurnOptions {
  /** Milliseconds since 1970. */
  now: number
  /** If the guests are a part of a night: its report so far, or null if it has none. */
  night?: RunReport | null | undefined
}

/**
 * Boots the guest that was not booted the longest, if it is due, and notes when in `states`. Returns a line if it did not come up. Errors:
 * ABORTED.
 */
export async function bootInTurn(
  job: Job,
  guests: readonly GuestRun[],
  states: Map<string, GuestState>,
  { now, night }: TurnOptions,
): Promise<string | null> {
  const rhythm = job.check?.boot
  if (rhythm === undefined || night?.guests.some(({ booted }) => booted !== undefined)) return null
  const last = ({ guest }: GuestRun) => {
    const booted = states.get(guest.name)?.booted ?? null
    return booted === null ? null : Date.parse(booted)
  }
  // In a part, no other guest that is backed up may have been without it for longer.
  const before = night === undefined ? Number.POSITIVE_INFINITY : longestAgo(states, now)
  const due = guests.filter(
    (guest) =>
      guest.report.outcome === 'done' &&
      !guest.report.already &&
      isDue(rhythm, last(guest), now) &&
      (last(guest) ?? 0) <= before,
  )
  const [next] = due.sort((a, b) => (last(a) ?? 0) - (last(b) ?? 0))
  if (next === undefined) return null
  const why = await next.boot()
  const { name } = next.guest
  if (next.report.booted !== undefined) states.set(name, { ...states.get(name)!, booted: new Date(now).toISOString() })
  return why === null ? null : `${name} does not boot from its archive: ${why}`
}

/** When the guest was booted that was not booted the longest, of those that have a backup of this week. */
function longestAgo(states: ReadonlyMap<string, GuestState>, now: number): number {
  const all = [...states.values()].filter(({ success }) => success !== null && now - Date.parse(success) < WEEK_MS)
  return Math.min(...all.map(({ booted }) => (booted === null ? 0 : Date.parse(booted))))
}
