/** Looks at a host: which jobs it has, which guests are in them, and which are in none. */

import type { Job } from '../../jobs/file/schema.ts'
import { findGuests } from '../../jobs/guests/find.ts'
import { type Guest, sourceText } from '../../jobs/guests/guest.ts'
import { type GuestState, JobState } from '../../jobs/state/job-state.ts'
import { uncovered } from '../../jobs/unprotected.ts'
import type { AgentGuest, AgentJob, Inventory } from '../messages/inventory.ts'
import type { HostJob, HostJobs } from './host-jobs.ts'
import { identitiesOf } from './identities.ts'
import type { JobTimes } from './job-times.ts'
import type { LastGood } from './last-good.ts'
import { takeableInventory } from './takeable.ts'
import type { Timers } from './timers.ts'

/** A job with its guests. */
export interface ScannedJob extends HostJob {
  guests: Guest[]
}

export interface Scan {
  jobs: ScannedJob[]
  inventory: Inventory
}

interface ScanOptions {
  jobs: HostJobs
  times: JobTimes
  lastGood: LastGood
  timers: Timers
  state: string
  /** What the agent itself has to tell. */
  warnings: readonly string[]
  signal: AbortSignal
}

const MOST_GUESTS = 20_000
/** Of one guest. */
const MOST_JOBS = 100
const LONGEST_LINE = 2000

/** Errors: ABORTED. */
export async function scan({ jobs, times, lastGood, timers, state, signal, ...options }: ScanOptions): Promise<Scan> {
  const now = Date.now()
  const warnings = [...options.warnings]
  const scanned: ScannedJob[] = []
  for (const one of await jobs.all()) {
    if (one.problem !== null) warnings.push(`${one.name}: ${one.problem}`)
    if (one.job === null) {
      scanned.push({ ...one, guests: [] })
      continue
    }
    const { guests, errors } = await findGuests(one.job, signal)
    warnings.push(...errors.map((text) => `${one.name}: ${text}`))
    scanned.push({ ...one, guests: guests.slice(0, MOST_GUESTS) })
  }
  warnings.push(...(await timers.ofJobs(scanned.map(({ name }) => name))))
  const told: AgentJob[] = []
  for (const one of scanned) told.push(await jobOf(one, times, now))
  const guests = await guestsOf(scanned, { lastGood, state, signal, warnings })
  const at = new Date(now).toISOString()
  const all = { at, guests: guests.slice(0, MOST_GUESTS), jobs: told.slice(0, 1000), warnings: [] }
  const inventory = takeableInventory(all, warnings)
  inventory.warnings = [...new Set(warnings)].slice(0, 1000).map((text) => text.slice(0, LONGEST_LINE))
  return { jobs: scanned, inventory }
}

async function jobOf({ name, isCentral, job, problem, guests }: ScannedJob, times: JobTimes, now: number) {
  const common = { name, central: isCentral, problem: problem?.slice(0, LONGEST_LINE) ?? null }
  if (job === null) {
    return { ...common, description: null, schedule: [], next: [], window: null, places: [], guests: [], promise: null }
  }
  const { next, promise } = await times.of(job, now)
  return {
    ...common,
    description: job.description ?? null,
    schedule: (job.schedule ?? []).slice(0, 50).map((text) => text.slice(0, 200)),
    next: next.map((time) => new Date(time).toISOString()),
    window: windowText(job),
    places: job.to
      .slice(0, 50)
      .map(({ place, storage = null, parallel = job.limits?.['per-place'] ?? null, keep = null }) => ({
        ...{ place, storage, parallel, keep },
      })),
    guests: guests.map((guest) => guest.name),
    promise,
  } satisfies AgentJob
}

/** `22:00-06:00` */
function windowText({ limits }: Job): string | null {
  if (limits?.window === undefined) return null
  const text = (minute: number) => `${two(Math.floor(minute / 60))}:${two(minute % 60)}`
  return `${text(limits.window.from)}-${text(limits.window.to)}`
}

function two(number: number): string {
  return String(number).padStart(2, '0')
}

interface GuestsOptions {
  lastGood: LastGood
  state: string
  signal: AbortSignal
  warnings: string[]
}

async function guestsOf(jobs: readonly ScannedJob[], options: GuestsOptions): Promise<AgentGuest[]> {
  const { lastGood, state, signal, warnings } = options
  const covered = jobs.flatMap(({ guests }) => guests)
  const free = await uncovered(covered, warnings, signal)
  const unprotected = free.map(({ name, kind }): Guest => ({ name, source: sourceOf(name, kind), entry: {} as never }))
  const identities = await identitiesOf([...covered, ...unprotected], signal)
  const all = new Map<string, AgentGuest>()
  for (const { job, guests, name: jobName } of jobs) {
    if (job === null) continue
    const states = await new JobState(state, jobName, () => {}).guests()
    for (const guest of guests) {
      const known = states.get(guest.name)
      const good = await lastGood.of(job, guest.name, known?.success ?? null, signal)
      const before = all.get(guest.name)
      all.set(guest.name, {
        name: guest.name,
        source: before?.source ?? sourceText(guest.source).slice(0, LONGEST_LINE),
        ...(identities.get(guest) ?? { identity: null, running: null }),
        jobs: [...(before?.jobs ?? []), jobName].slice(0, MOST_JOBS),
        lastGood: latest(before?.lastGood ?? null, good),
        ...figures(known, before),
      })
    }
  }
  for (const guest of unprotected) {
    if (all.has(guest.name) || guest.name.length > 255) continue
    const common = {
      name: guest.name,
      source: sourceText(guest.source).slice(0, LONGEST_LINE),
      jobs: [],
      lastGood: null,
    }
    all.set(guest.name, { ...common, ...identities.get(guest)!, size: null, seconds: null, stored: null })
  }
  return [...all.values()]
}

/** A QEMU that no job knows is known by its name alone. */
function sourceOf(name: string, kind: 'libvirt' | 'proxmox' | 'qemu' | 'serve'): Guest['source'] {
  if (kind === 'libvirt') return { kind, domain: name, connect: undefined }
  if (kind === 'proxmox') return { kind, id: Number(name) }
  return kind === 'serve' ? { kind: 'attach', control: name } : { kind: 'qmp', socket: name }
}

function figures(state: GuestState | undefined, before: AgentGuest | undefined) {
  return {
    size: state?.size ?? before?.size ?? null,
    seconds: state?.seconds ?? before?.seconds ?? null,
    stored: state?.stored ?? before?.stored ?? null,
  }
}

function latest(a: string | null, b: string | null): string | null {
  return a === null || b === null ? (a ?? b) : a > b ? a : b
}
