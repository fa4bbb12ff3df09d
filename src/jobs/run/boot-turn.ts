/** Boots one guest a night from its new archive, each in its turn. */

import type { Job } from '../file/schema.ts'
import type { GuestState } from '../state/job-state.ts'
import type { GuestRun } from './guest-run.ts'
import { isDue } from './rhythm.ts'

/**
 * Boots the guest that was not booted the longest, if it is due, and notes when in `states`. Returns a line if it did not come up.
 * `now`: milliseconds since 1970. Errors: ABORTED.
 */
export async function bootInTurn(
  job: Job,
  guests: readonly GuestRun[],
  states: Map<string, GuestState>,
  now: number,
): Promise<string | null> {
  const rhythm = job.check?.boot
  if (rhythm === undefined) return null
  const last = ({ guest }: GuestRun) => {
    const booted = states.get(guest.name)?.booted ?? null
    return booted === null ? null : Date.parse(booted)
  }
  const due = guests.filter((guest) => guest.report.outcome === 'done' && isDue(rhythm, last(guest), now))
  const [next] = due.sort((a, b) => (last(a) ?? 0) - (last(b) ?? 0))
  if (next === undefined) return null
  const why = await next.boot()
  const { name } = next.guest
  if (next.report.booted !== undefined) states.set(name, { ...states.get(name)!, booted: new Date(now).toISOString() })
  return why === null ? null : `${name} does not boot from its archive: ${why}`
}
