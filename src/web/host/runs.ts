/** Runs that go on: they are asked by their control sockets, so runs that were begun elsewhere are seen too. */

import { createHash } from 'node:crypto'
import type { RunNow } from '../../jobs/run/control.ts'
import type { GuestProgress, RunStatus } from '../../jobs/run/events.ts'
import type { NowRow } from '../house.ts'
import { timeText } from './texts.ts'

/** Phases of guests that need no row: all is well, or they were told of. */
const OVER: readonly GuestProgress['phase'][] = ['done', 'skipped', 'canceled']

/** Identifies a guest in a run for `cancel`. */
export function rowId(job: string, run: string, guest: string): string {
  return createHash('sha256')
    .update(JSON.stringify([job, run, guest]))
    .digest('base64url')
    .slice(0, 22)
}

/** Guests that wait and are shown; there may be thousands. */
const MOST_WAITING = 300

/** The rows of all runs, and a line if not all guests have one. */
export function nowRows(runs: readonly RunNow[], host: string): { rows: NowRow[]; left: string[] } {
  const all = runs.flatMap((run) => rowsOf(run, host))
  const waiting = new Set(all.filter(({ phase }) => phase === 'waiting').slice(MOST_WAITING))
  if (waiting.size === 0) return { rows: all, left: [] }
  return { rows: all.filter((row) => !waiting.has(row)), left: [`${waiting.size} more guests wait for their backup`] }
}

/** The rows of a run: its guests, or the run itself as long as it has none. */
function rowsOf({ status }: RunNow, host: string): NowRow[] {
  const { job, run, guests, doing, started } = status
  const common = { host, job, run }
  if (guests.length === 0) {
    const nothing = { attempts: 0, began: started, snapshot: null, stats: null, latency: null }
    return [{ ...common, id: rowId(job, run, ''), guest: '', phase: 'waiting', ...nothing, reason: doing }]
  }
  return guests
    .filter(({ phase }) => !OVER.includes(phase))
    .map((progress) => ({
      ...common,
      id: rowId(job, run, progress.guest),
      guest: progress.guest,
      phase: progress.phase,
      attempts: progress.attempts,
      began: progress.began ?? null,
      snapshot: progress.snapshot,
      // A run of an older version tells neither.
      stats: progress.stats ?? null,
      latency: progress.latency ?? null,
      reason: progress.reason ?? waitsFor(progress, status),
    }))
}

function waitsFor({ phase, again }: GuestProgress, { doing, guests }: RunStatus): string | null {
  if (phase === 'retry' && again !== null) return `it is tried again at ${timeText(again)}`
  if (phase !== 'waiting') return null
  const running = guests.filter((one) => one.began !== null && one.snapshot !== null).length
  return running > 0 ? `${running} others are backed up before it` : doing
}
