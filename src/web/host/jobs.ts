/** The jobs of this host: files are read again only if they have changed. */

import { stat } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { installedJobs } from '../../jobs/file/find-job.ts'
import { loadJob } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import type { Window } from '../../jobs/file/values.ts'
import { promiseOf } from '../../jobs/promise.ts'
import { nextTimes } from '../../jobs/schedule.ts'
import type { JobRow } from '../house.ts'
import type { PastRun } from './histories.ts'

/** Next times that are shown. */
const NEXT = 10
/** Milliseconds after which a promise is computed again: it follows from the next two weeks. */
const PROMISE_MS = 12 * 3_600_000

export interface HostJob {
  name: string
  file: string
  /** Null if its file cannot be read. */
  job: Job | null
  problem: string | null
  /** Milliseconds since 1970. */
  next: number[]
  /** Seconds. */
  promise: number | null
}

interface Read extends HostJob {
  /** Changes with the file. */
  stamp: string
  promisedAt: number
}

export class Jobs {
  readonly #folders: readonly string[]
  #jobs = new Map<string, Read>()

  constructor(folders: readonly string[]) {
    this.#folders = folders
  }

  /** Reads what has changed. True if something has. */
  async look(): Promise<boolean> {
    const places = await installedJobs([...this.#folders])
    const now = Date.now()
    const read = await Promise.all(places.map(({ name, file }) => this.#read(name, file, now)))
    const before = [...this.#jobs.values()]
    this.#jobs = new Map(read.map((one) => [one.name, one]))
    return before.length !== read.length || read.some((one) => !before.includes(one))
  }

  get all(): readonly HostJob[] {
    return [...this.#jobs.values()]
  }

  /** Those whose files can be read. */
  get good(): Job[] {
    return this.all.flatMap(({ job }) => job ?? [])
  }

  /** Errors: USAGE if there is no such job, or its file cannot be read. */
  named(name: string): HostJob & { job: Job } {
    const found = this.#jobs.get(name)
    if (found === undefined) throw new VmapipeError('USAGE', 'there is no job of this name')
    if (found.job === null) throw new VmapipeError('USAGE', found.problem ?? 'its file cannot be read')
    return { ...found, job: found.job }
  }

  async #read(name: string, file: string, now: number): Promise<Read> {
    const stats = await stat(file, { bigint: true }).catch(() => null)
    const stamp = stats === null ? '' : `${stats.ino} ${stats.size} ${stats.mtimeNs} ${stats.ctimeNs}`
    const known = this.#jobs.get(name)
    if (known !== undefined && known.stamp === stamp && known.file === file) {
      const isPast = known.next.length > 0 && known.next[0] <= now
      if (known.job === null || (!isPast && now - known.promisedAt < PROMISE_MS)) return known
      return { ...known, ...(await timesOf(known.job, now)) }
    }
    try {
      const job = await loadJob(file)
      return { name, file, job, problem: null, stamp, ...(await timesOf(job, now)) }
    } catch (error) {
      return {
        name,
        file,
        job: null,
        problem: asVmapipeError(error).text,
        next: [],
        promise: null,
        stamp,
        promisedAt: now,
      }
    }
  }
}

async function timesOf(job: Job, now: number): Promise<Pick<Read, 'next' | 'promise' | 'promisedAt'>> {
  const next = job.schedule === undefined ? [] : await nextTimes(job.schedule, now, NEXT).catch(() => null)
  return { next: next ?? [], promise: await promiseOf(job, now), promisedAt: now }
}

export function jobRow(
  { name, job, problem, next, promise }: HostJob,
  { host, guests, last }: { host: string; guests: string[]; last: PastRun | null },
): JobRow {
  const window = job?.limits?.window
  return {
    ...{ host, job: name, description: job?.description ?? null, central: false },
    schedule: job?.schedule ?? [],
    next: next.map((time) => new Date(time).toISOString()),
    window: window === undefined ? null : windowText(window),
    places: job?.to.map(({ place }) => place) ?? [],
    ...{ guests, promise, problem },
    last: last && { run: last.row.run, started: last.row.started, ended: last.row.ended, outcome: last.row.outcome },
  }
}

function windowText({ from, to }: Window): string {
  const clock = (minutes: number) =>
    `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`
  return `${clock(from)}-${clock(to)}`
}
