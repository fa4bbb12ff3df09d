/**
 * Writes how a job is doing for Prometheus, in the format of the node exporter's textfile collector. The file is there as a whole or as it
 * was before. What is about guests that a run did not get to is that of their last backup, so that an alert sees how old it is.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Gauge, Registry } from 'prom-client'
import { readCatalog } from '../catalog/catalog.ts'
import type { CatalogEntry } from '../catalog/entry.ts'
import { pathIn } from './file/load.ts'
import type { Job } from './file/schema.ts'
import type { RunReport } from './report.ts'
import { folderAt } from './run/places.ts'
import { writeWhole } from './state/files.ts'
import type { GuestState } from './state/job-state.ts'

/** The node exporter runs as another user. */
const READABLE = 0o644

/** The archives of a guest at a place. */
interface Shelf {
  place: string
  guest: string
  archives: readonly CatalogEntry[]
}

/** Errors: FAILED, or those of the system. */
export async function writeMetrics(
  job: Job,
  report: RunReport,
  states: ReadonlyMap<string, GuestState>,
): Promise<string> {
  const folder = pathIn(job, job.metrics!)
  await mkdir(folder, { recursive: true, mode: 0o755 })
  const path = join(folder, `vmapipe_${job.name}.prom`)
  const names = new Set([...states.keys(), ...report.guests.map(({ guest }) => guest)])
  await writeWhole(path, await metricsText(report, states, await shelves(job, names)), READABLE)
  return path
}

async function shelves(job: Job, guests: Iterable<string>): Promise<Shelf[]> {
  const all: Shelf[] = []
  for (const entry of job.to) {
    for (const guest of guests) {
      // A place that is not there is told by the run.
      const archives = await readCatalog(folderAt(entry, guest)).catch(() => [])
      all.push({ place: entry.place, guest, archives })
    }
  }
  return all
}

const OUTCOMES = ['all', 'some', 'none'] as const

/** The lines of the file. */
export async function metricsText(
  report: RunReport,
  states: ReadonlyMap<string, GuestState>,
  shelves: readonly Shelf[],
): Promise<string> {
  const registry = new Registry()
  const { job } = report
  const gauge = (name: string, help: string, ...labels: string[]) =>
    new Gauge({ name: `vmapipe_job_${name}`, help, labelNames: ['job', ...labels], registers: [registry] })
  const seconds = (iso: string) => Date.parse(iso) / 1000

  gauge('last_run_timestamp_seconds', 'When the last run of the job ended').set({ job }, seconds(report.ended))
  gauge('last_run_duration_seconds', 'How long the last run took').set(
    { job },
    seconds(report.ended) - seconds(report.started),
  )
  const outcome = gauge(
    'last_run_outcome',
    'Whether all, some or none of the guests got an archive in the last run',
    'outcome',
  )
  for (const one of OUTCOMES) outcome.set({ job, outcome: one }, report.outcome === one ? 1 : 0)
  if (report.next !== null)
    gauge('next_run_timestamp_seconds', 'When the job runs next').set({ job }, seconds(report.next))

  const success = gauge(
    'guest_last_success_timestamp_seconds',
    'When the last archive of the guest was complete; 0 if it never was',
    'guest',
  )
  const ok = gauge('guest_last_run_success', 'Whether the last run has backed the guest up', 'guest')
  const duration = gauge('guest_duration_seconds', 'How long the last backup of the guest took', 'guest')
  const stored = gauge('guest_stored_bytes', 'Bytes of the last archive of the guest', 'guest')
  const size = gauge('guest_size_bytes', 'Bytes of the drives of the guest', 'guest')
  for (const { guest } of report.guests) success.set({ job, guest }, 0)
  for (const { name: guest, ...state } of states.values()) {
    if (state.success !== null) success.set({ job, guest }, seconds(state.success))
    if (state.seconds !== null) duration.set({ job, guest }, state.seconds)
    if (state.stored !== null) stored.set({ job, guest }, state.stored)
    if (state.size !== null) size.set({ job, guest }, state.size)
  }
  const wait = gauge(
    'guest_longest_wait_seconds',
    'The longest time that a write of the guest waited for its last backup',
    'guest',
  )
  for (const { guest, outcome, longestWait } of report.guests) {
    ok.set({ job, guest }, outcome === 'done' ? 1 : 0)
    if (longestWait !== undefined) wait.set({ job, guest }, longestWait / 1000)
  }

  const archives = gauge('archives', 'Archives of the guest at the place', 'place', 'guest')
  const bytes = gauge('archives_bytes', 'Bytes of the archives of the guest at the place', 'place', 'guest')
  const unverified = gauge(
    'oldest_unverified_timestamp_seconds',
    'When the oldest archive was made that was never verified',
    'place',
  )
  const oldest = new Map<string, number>()
  for (const { place, guest, archives: all } of shelves) {
    archives.set({ job, place, guest }, all.length)
    bytes.set(
      { job, place, guest },
      all.reduce((sum, archive) => sum + archive.size, 0),
    )
    for (const { checks, ctime } of all) {
      if (ctime > 0 && !checks.some(({ kind, passed }) => passed && kind !== 'boot'))
        oldest.set(place, Math.min(oldest.get(place) ?? Number.POSITIVE_INFINITY, ctime))
    }
  }
  for (const [place, ctime] of oldest) unverified.set({ job, place }, ctime)
  return registry.metrics()
}
