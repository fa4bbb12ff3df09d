/** Puts together what became of a run, and what is remembered of its guests. */

import { hostname } from 'node:os'
import type { GuestReport, RunReport } from '../report.ts'
import type { GuestState } from '../state/job-state.ts'
import type { GuestRun } from './guest-run.ts'

interface RunParts {
  job: string
  run: string
  /** Milliseconds since 1970. */
  started: number
  ended: number
  guests: GuestReport[]
  problem: string | undefined
  warnings: readonly string[]
  removed: RunReport['removed']
  next: string | null
}

export function makeReport({ started, ended, guests, problem, warnings, ...parts }: RunParts): RunReport {
  const done = guests.filter(({ outcome }) => outcome === 'done').length
  const isWhole = done === guests.length && problem === undefined
  return {
    version: 1,
    host: hostname(),
    ...parts,
    started: new Date(started).toISOString(),
    ended: new Date(ended).toISOString(),
    outcome: done === 0 ? 'none' : isWhole ? 'all' : 'some',
    guests,
    ...(problem !== undefined && { problem }),
    ...(warnings.length > 0 && { warnings: [...warnings] }),
  }
}

const NOTHING = { booted: null, full: null, size: null, seconds: null, stored: null }

/** Notes that the guest has a new archive. `now`: milliseconds since 1970. */
export function remember({ guest, report, size }: GuestRun, states: Map<string, GuestState>, now: number): void {
  const before = states.get(guest.name)
  if (report.already) {
    // It was remembered when it was made, unless the state is lost.
    if (before === undefined)
      states.set(guest.name, { ...NOTHING, name: guest.name, success: new Date(now).toISOString() })
    return
  }
  states.set(guest.name, {
    name: guest.name,
    success: new Date(now).toISOString(),
    booted: before?.booted ?? null,
    full: report.kind === 'full' ? (report.stored ?? null) : (before?.full ?? null),
    size: size ?? before?.size ?? null,
    seconds: report.seconds ?? null,
    stored: report.stored ?? null,
  })
}
