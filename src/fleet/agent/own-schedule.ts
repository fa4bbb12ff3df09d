/**
 * Goes on by the host's own schedule while the planner is away: what was due and was not begun is begun here, with the same time in the
 * archives' names. So the planner, when it is back, finds it done.
 */

import { runOfDue } from '../../jobs/run/merge-reports.ts'
import { isOpen } from '../../jobs/run/window.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import type { Desk } from './desk.ts'
import { STOPPED } from './item.ts'
import type { JobTimes } from './job-times.ts'
import type { ScannedJob } from './scan.ts'

interface OwnOptions {
  desk: Desk
  times: JobTimes
  state: string
}

/** Begins what is due and open, as far as there is room for it. */
export async function beginOwn(jobs: readonly ScannedJob[], { desk, times, state }: OwnOptions): Promise<void> {
  const now = Date.now()
  const open: { job: string; guest: string; due: number; success: string }[] = []
  for (const { name, job, guests } of jobs) {
    if (job?.schedule === undefined) continue
    const { last: due } = await times.of(job, now)
    if (due === null || (job.limits?.window !== undefined && !isOpen(job.limits.window, now))) continue
    const kept = new JobState(state, name, () => {})
    const report = await kept.report(runOfDue(due))
    const states = await kept.guests()
    // Whatever became of a guest, it had its turn; not if the agent was ended in the middle.
    const tried = new Set(report?.guests.filter(({ reason }) => reason !== STOPPED).map(({ guest }) => guest))
    for (const guest of guests) {
      if (tried.has(guest.name) || desk.hasBegun(name, guest.name, due)) continue
      open.push({ job: name, guest: guest.name, due, success: states.get(guest.name)?.success ?? '' })
    }
  }
  open.sort((a, b) => (a.success < b.success ? -1 : a.success > b.success ? 1 : 0))
  for (const { job, guest, due } of open) {
    if (desk.free <= 0) return
    desk.begin(job, guest, due)
  }
}
