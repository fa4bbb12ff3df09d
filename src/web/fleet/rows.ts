/** Rows of the page, made of what the planner tells. */

import type { FleetGuestRow, JobRow as FleetJobRow, RunSummary, WorkRow } from '../../fleet/fleet.ts'
import type { AgentArchive } from '../../fleet/messages/events.ts'
import { guestFolder } from '../../jobs/guests/guest.ts'
import type { GuestPhase } from '../../jobs/run/events.ts'
import type { ArchiveRow, GuestRow, JobRow, NowRow, RunRow, TaskRow } from '../house.ts'
import { archiveId } from './archive-ids.ts'
import { progressOf } from './progress.ts'

type Trend = GuestRow['trend']

export function guestRow(guest: FleetGuestRow, trend: Trend): GuestRow {
  const { host, name, source, running, jobs, lastGood, promise, state, problem, size } = guest
  return { host, guest: name, source, running, jobs, lastGood, promise, state, problem, size, trend }
}

export type FleetArchive = AgentArchive & { host: string; job: string }

export function archiveRow(archive: FleetArchive): ArchiveRow {
  const { host, guest, name, kind, uuid, parent, size, encrypted, notes, locked = false, written } = archive
  return {
    id: archiveId(archive),
    ...{ host, guest, place: placeOf(archive), name, kind, uuid, parent, size, encrypted, notes },
    at: archive.ctime > 0 ? new Date(archive.ctime * 1000).toISOString() : locked ? (written ?? null) : null,
    ...{ locked, unreadable: (!locked && archive.unreadable) || null },
    protected: archive.protected,
    checks: archive.checks.flatMap(checkOf),
  }
}

/** Where the job of the archive writes to. Each guest has a folder there; a chain is within one place. */
function placeOf({ place, guest }: FleetArchive): string {
  const folder = place.slice(0, Math.max(0, place.lastIndexOf('/')))
  const at = folder.lastIndexOf('/')
  const above = folder.slice(0, Math.max(0, at))
  return guest !== null && guestFolder(guest) === folder.slice(at + 1) && !/^$|[:/]$/.test(above) ? above : folder
}

/** What a host says of a check is shown if it is one. The picture of a boot stays on its host. */
function checkOf(check: Record<string, unknown>): ArchiveRow['checks'] {
  const { kind, at, passed, detail } = check
  if (kind !== 'verify' && kind !== 'sample' && kind !== 'boot') return []
  if (typeof at !== 'string' || typeof passed !== 'boolean') return []
  return [{ kind, at, passed, detail: typeof detail === 'string' ? detail : null, picture: false }]
}

export function jobRow(job: FleetJobRow, last: JobRow['last']): JobRow {
  const { host, name, description, central, schedule, next, window, guests, promise, problem } = job
  const places = job.places.map(({ place }) => place)
  return { host, job: name, description, central, schedule, next, window, places, guests, promise, problem, last }
}

/** A backup that runs or waits. */
export function nowRow(work: WorkRow): NowRow {
  const told = progressOf(work.progress)
  const waits: GuestPhase = work.attempt > 1 ? 'retry' : 'waiting'
  return {
    id: work.id,
    host: work.host,
    job: work.job ?? '',
    run: runOf(work),
    guest: work.guest ?? '',
    phase: work.state === 'running' ? (told.phase ?? 'preparing') : waits,
    attempts: work.attempt,
    began: work.began,
    ...{ snapshot: told.snapshot, stats: told.stats, latency: told.latency },
    reason: told.reason ?? work.reason,
  }
}

const TASKS: Partial<Record<WorkRow['kind'], TaskRow['what']>> = { verify: 'verify', prune: 'prune', report: 'report' }

/** Null for what is no task of its own. */
export function taskRow(work: WorkRow): TaskRow | null {
  const what = TASKS[work.kind]
  if (what === undefined) return null
  return {
    id: work.id,
    host: work.host,
    what,
    subject: work.guest ?? work.job ?? work.host,
    by: '',
    state: work.state === 'lost' ? 'failed' : work.state,
    began: work.began ?? work.due,
    ended: work.ended,
    percent: null,
    lines: work.reason === null ? [] : [work.reason],
  }
}

/** Names the backups of a job that were due at one time on a host. */
export function runOf({ job, due }: Pick<WorkRow, 'job' | 'due'>): string {
  return `${job}@${due}`
}

export function runRow({ host, job, due, started, ended, done, failed, stored }: RunSummary): RunRow {
  const outcome = failed === 0 ? 'all' : done === 0 ? 'none' : 'some'
  return { host, job, run: runOf({ job, due }), started, ended, outcome, done, failed, stored }
}

/** Of the backups of one run, which have all ended. */
export function runSummary(works: readonly WorkRow[]): RunSummary {
  const [{ host, job, due }] = works
  const done = works.filter(({ state }) => state === 'done').length
  return {
    ...{ host, job: job ?? '', due, done, failed: works.length - done, stored: 0 },
    started: least(works.map(({ began }) => began ?? due)),
    ended: most(works.map(({ ended }) => ended ?? due)),
  }
}

function least(times: string[]): string {
  return times.reduce((first, time) => (Date.parse(time) < Date.parse(first) ? time : first))
}

function most(times: string[]): string {
  return times.reduce((last, time) => (Date.parse(time) > Date.parse(last) ? time : last))
}
