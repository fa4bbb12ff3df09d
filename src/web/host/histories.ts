/** What became of the runs of this host. A report is read once; only those of the last runs may still get parts. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { compare } from '../../catalog/order.ts'
import type { RunReport } from '../../jobs/report.ts'
import { readJson } from '../../jobs/state/files.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import type { GuestRow, RunRow } from '../house.ts'

/** Runs whose guests are remembered for trends. */
const TREND_RUNS = 60
/** Points of a trend. */
const TREND = 14
const AT_ONCE = 16
/** The last runs, whose reports may still get parts of a night. */
const MAY_CHANGE = 20
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/

/** A guest in a run. */
interface GuestEnd {
  guest: string
  outcome: string
  reason: string | null
  stored: number
  seconds: number
}

export interface PastRun {
  /** Last-modified time of its file. */
  changed: number
  row: RunRow
  problem: string | null
  guests: GuestEnd[]
}

interface JobHistory {
  /** Last-modified time of the folder of reports. */
  changed: number
  runs: Map<string, PastRun>
}

export class Histories {
  readonly #state: string
  readonly #host: string
  readonly #jobs = new Map<string, JobHistory>()
  /** Reports that were read, for tests. */
  reads = 0

  constructor(state: string, host: string) {
    this.#state = state
    this.#host = host
  }

  /** Reads what is new. True if something is. */
  async look(): Promise<boolean> {
    const names = (await readdir(join(this.#state, 'jobs')).catch(() => [])).filter((name) => NAME.test(name))
    for (const job of this.#jobs.keys()) if (!names.includes(job)) this.#jobs.delete(job)
    let isNew = false
    for (const name of names) isNew = (await this.#lookAt(name)) || isNew
    return isNew
  }

  /** The runs of a job, or of all; the newest first. */
  runs(job?: string): PastRun[] {
    const all = job === undefined ? [...this.#jobs.values()] : [this.#jobs.get(job)].filter((one) => one !== undefined)
    return all.flatMap(({ runs }) => [...runs.values()]).sort((a, b) => compare(orderOf(b), orderOf(a)))
  }

  /** The last backups of each guest, the oldest first. */
  trends(): Map<string, GuestRow['trend']> {
    const trends = new Map<string, GuestRow['trend']>()
    for (const { row, guests } of this.runs().reverse()) {
      for (const { guest, outcome, stored, seconds } of guests) {
        if (outcome === 'skipped') continue
        const trend = trends.get(guest) ?? []
        trend.push({ at: row.ended, stored, seconds, outcome })
        if (trend.length > TREND) trend.shift()
        trends.set(guest, trend)
      }
    }
    return trends
  }

  /** Why the last backup of each guest failed; null if it did not. */
  failures(): Map<string, string | null> {
    const failures = new Map<string, string | null>()
    for (const { guests } of this.runs().reverse())
      for (const { guest, outcome, reason } of guests)
        if (outcome !== 'skipped') failures.set(guest, outcome === 'done' ? null : (reason ?? outcome))
    return failures
  }

  /** The whole report; null if it is not there. */
  async report(job: string, run: string): Promise<RunReport | null> {
    if (!NAME.test(job) || !NAME.test(run) || !this.#jobs.get(job)?.runs.has(run)) return null
    return (await this.#read(job, run)) ?? null
  }

  async #lookAt(job: string): Promise<boolean> {
    const folder = this.#folderOf(job)
    const stats = await stat(folder).catch(() => null)
    if (stats === null) return false
    const known = this.#jobs.get(job)
    if (known?.changed === stats.mtimeMs) return false
    const names = (await readdir(folder).catch(() => [])).flatMap((name) =>
      name.endsWith('.json') && NAME.test(name) ? [name.slice(0, -'.json'.length)] : [],
    )
    const latest = new Set(names.toSorted().slice(-MAY_CHANGE))
    const runs = new Map<string, PastRun>()
    const missing: string[] = []
    for (const name of names) {
      const one = known?.runs.get(name)
      const isSame = one !== undefined && (!latest.has(name) || one.changed === (await this.#timeOf(job, name)))
      if (isSame) runs.set(name, one)
      else missing.push(name)
    }
    for (let at = 0; at < missing.length; at += AT_ONCE) {
      const part = missing.slice(at, at + AT_ONCE)
      const reports = await Promise.all(part.map((name) => this.#read(job, name)))
      for (const [index, report] of reports.entries())
        if (report !== null)
          runs.set(part[index], pastRun(report, job, this.#host, await this.#timeOf(job, part[index])))
    }
    for (const name of [...runs.keys()].sort().slice(0, -TREND_RUNS)) runs.get(name)!.guests = []
    this.#jobs.set(job, { changed: stats.mtimeMs, runs })
    return true
  }

  async #read(job: string, run: string): Promise<RunReport | null> {
    this.reads++
    const report = (await readJson(join(this.#folderOf(job), `${run}.json`))) as RunReport | null
    return report?.version === 1 && Array.isArray(report.guests) ? report : null
  }

  async #timeOf(job: string, run: string): Promise<number> {
    return (await stat(join(this.#folderOf(job), `${run}.json`)).catch(() => null))?.mtimeMs ?? 0
  }

  #folderOf(job: string): string {
    return join(new JobState(this.#state, job, () => {}).folder, 'runs')
  }
}

/** By time; of two at once by their names. */
function orderOf({ row: { started, run } }: PastRun): string {
  return `${started} ${run}`
}

function pastRun(
  { run, started, ended, outcome, problem, guests }: RunReport,
  job: string,
  host: string,
  changed: number,
): PastRun {
  const done = guests.filter((guest) => guest.outcome === 'done').length
  const stored = guests.reduce((all, guest) => all + (guest.stored ?? 0), 0)
  return {
    changed,
    row: { host, job, run, started, ended, outcome, done, failed: guests.length - done, stored },
    problem: problem ?? null,
    guests: guests.map(({ guest, outcome: end, reason, stored, seconds }) => {
      return { guest, outcome: end, reason: reason ?? null, stored: stored ?? 0, seconds: seconds ?? 0 }
    }),
  }
}
