/** The guests of this host: those that jobs find now, those that jobs have backed up before, and those that are in no job. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { asVmapipeError } from '../../core/errors.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { findGuests } from '../../jobs/guests/find.ts'
import { type Guest, sourceText } from '../../jobs/guests/guest.ts'
import { runningGuests } from '../../jobs/guests/processes.ts'
import { nameOfSocket } from '../../jobs/guests/sockets.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import { type Unprotected, unprotected } from '../../jobs/unprotected.ts'
import { placesOf } from '../../operations/proxmox/places.ts'
import { environment } from '../../protocol/qmp/virsh-shell.ts'
import { findProgram } from '../../system/child.ts'
import type { GuestRow } from '../house.ts'
import type { ArchiveStore } from './archive-store.ts'
import type { Histories } from './histories.ts'
import type { HostJob } from './jobs.ts'
import { timeText } from './texts.ts'

/** Milliseconds that finding the guests of a job may take: a hypervisor may hang. */
const FIND_MS = 40_000
const VIRSH_MS = 20_000

/** What is known of guests, without their archives. */
export interface FoundGuests {
  byJob: ReadonlyMap<string, FoundOfJob>
  /** Sockets that somebody listens at, as far as processes can be looked at. */
  sockets: ReadonlySet<string>
  /** Domains that run, by the URI of their libvirt; null if libvirt does not answer. */
  domains: ReadonlyMap<string, ReadonlySet<string> | null>
}

interface FoundOfJob {
  guests: Guest[]
  problems: string[]
  /** When its last archive was complete, and the bytes of its drives, by guest. */
  states: ReadonlyMap<string, { success: string | null; size: number | null }>
}

/** `signal` ends the look when nobody wants it any more. */
export async function lookForGuests(jobs: readonly Job[], state: string, signal: AbortSignal): Promise<FoundGuests> {
  const byJob = new Map<string, FoundOfJob>()
  await Promise.all(
    jobs.map(async (job) => {
      const states = await new JobState(state, job.name, () => {}).guests()
      try {
        const { guests, errors } = await findGuests(job, AbortSignal.any([signal, AbortSignal.timeout(FIND_MS)]))
        byJob.set(job.name, { guests, problems: errors, states })
      } catch (error) {
        byJob.set(job.name, { guests: [], problems: [asVmapipeError(error).text], states })
      }
    }),
  )
  const guests = [...byJob.values()].flatMap((one) => one.guests)
  const uris = new Set(guests.flatMap(({ source }) => (source.kind === 'libvirt' ? (source.connect ?? '') : [])))
  const domains = new Map(
    await Promise.all([...uris].map(async (uri) => [uri, await runningDomains(uri, signal)] as const)),
  )
  const processes = await runningGuests().catch(() => [])
  return { byJob, domains, sockets: new Set(processes.flatMap(({ sockets }) => sockets)) }
}

/** Guests in no job, and drives in no archive. It reads archives, so it is asked for seldom. */
export async function lookForUnprotected(jobs: readonly Job[], signal: AbortSignal): Promise<Unprotected> {
  return unprotected(jobs, AbortSignal.any([signal, AbortSignal.timeout(10 * FIND_MS)]))
}

async function runningDomains(uri: string, signal: AbortSignal): Promise<ReadonlySet<string> | null> {
  if (findProgram('virsh') === undefined) return null
  const options = { env: environment(uri === '' ? undefined : uri), timeout: VIRSH_MS, maxBuffer: 16 << 20, signal }
  try {
    const { stdout } = await promisify(execFile)('virsh', ['-q', 'list', '--state-running', '--name'], options)
    return new Set(stdout.split('\n').filter((name) => name.trim() !== ''))
  } catch {
    return null
  }
}

interface RowParts {
  host: string
  jobs: readonly HostJob[]
  found: FoundGuests
  open: Unprotected | null
  archives: ArchiveStore
  histories: Histories
  /** Milliseconds since 1970. */
  now: number
}

export function guestRows({ host, jobs, found, open, archives, histories, now }: RowParts): GuestRow[] {
  const trends = histories.trends()
  const failures = histories.failures()
  const rows = new Map<string, GuestRow>()
  for (const { name: jobName, job, promise } of jobs) {
    const own = found.byJob.get(jobName)
    if (job === null || own === undefined) continue
    const present = new Map(own.guests.map((guest) => [guest.name, guest]))
    for (const name of new Set([...present.keys(), ...own.states.keys()])) {
      const guest = present.get(name)
      const { at, isSure } = archives.lastGood(name, job)
      // One that is not found and has no archive is nobody's concern any more.
      if (guest === undefined && at === 0) continue
      const state = own.states.get(name)
      const remembered = isSure ? 0 : Date.parse(state?.success ?? '') || 0
      const lastGood = Math.max(at, remembered)
      const before = rows.get(name)
      const known = Math.max(lastGood, before?.lastGood ? Date.parse(before.lastGood) : 0)
      rows.set(name, {
        ...{ host, guest: name },
        source: guest === undefined ? (before?.source ?? '') : sourceText(guest.source),
        running: guest === undefined ? (before?.running ?? null) : isRunning(guest, found),
        jobs: [...(before?.jobs ?? []), jobName],
        lastGood: known === 0 ? null : new Date(known).toISOString(),
        promise: least(before?.promise ?? null, promise),
        state: 'good',
        problem: before?.problem ?? failures.get(name) ?? (guest === undefined ? 'its job does not find it now' : null),
        size: state?.size ?? before?.size ?? null,
        trend: trends.get(name) ?? [],
      })
    }
  }
  for (const row of rows.values()) {
    row.state = stateOf(row, now)
    if (isFuture(row, now))
      row.problem ??= `its newest archive is of ${timeText(row.lastGood!)}, which is in the future: is this host's clock right?`
    row.problem ??= drivesLeft(row.guest, open)
  }
  for (const { name: found, kind } of open?.guests ?? []) {
    // A disk server is known by its socket.
    const name = kind === 'serve' ? nameOfSocket(found) : found
    const source = kind === 'serve' ? `attach:${found}` : kind
    if (rows.has(name)) continue
    const nothing = { lastGood: null, promise: null, size: null, trend: trends.get(name) ?? [] }
    rows.set(name, {
      ...{ host, guest: name, source, running: kind === 'libvirt' || kind === 'proxmox' ? null : true, jobs: [] },
      ...{ ...nothing, state: 'unprotected', problem: 'it is in no job' },
    })
  }
  const order: GuestRow['state'][] = ['unprotected', 'overdue', 'late', 'good']
  return [...rows.values()].sort(
    (a, b) => order.indexOf(a.state) - order.indexOf(b.state) || (a.guest < b.guest ? -1 : 1),
  )
}

/** By the shortest of its promises. */
function least(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b)
}

/** Milliseconds by which the clocks of two hosts may differ. */
const SKEW_MS = 300_000

/** A clock was wrong when it was made, or is wrong now: nobody knows how old the backup is. */
function isFuture({ lastGood }: GuestRow, now: number): boolean {
  return lastGood !== null && Date.parse(lastGood) > now + SKEW_MS
}

function stateOf(row: GuestRow, now: number): GuestRow['state'] {
  const { lastGood, promise } = row
  if (lastGood === null || isFuture(row, now)) return 'overdue'
  if (promise === null) return 'good'
  const age = (now - Date.parse(lastGood)) / 1000
  return age <= promise ? 'good' : age <= 2 * promise ? 'late' : 'overdue'
}

function drivesLeft(guest: string, open: Unprotected | null): string | null {
  const drives = open?.disks.find((one) => one.guest === guest)?.drives ?? []
  return drives.length === 0 ? null : `not in its newest archive: ${drives.join(', ')}`
}

/** Null if nobody can tell, as of drives at rest. */
function isRunning({ source }: Guest, { sockets, domains }: FoundGuests): boolean | null {
  switch (source.kind) {
    case 'libvirt':
      return domains.get(source.connect ?? '')?.has(source.domain) ?? null
    case 'qmp':
      return sockets.has(source.socket) || null
    case 'attach':
      return sockets.has(source.control) || null
    case 'proxmox':
      return sockets.has(placesOf(source.id).qmp)
    default:
      return null
  }
}
