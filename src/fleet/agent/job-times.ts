/** The times of a job's schedule around now. Asking systemd for them takes a process, so they are asked for seldom. */

import type { Job } from '../../jobs/file/schema.ts'
import { promiseOf } from '../../jobs/promise.ts'
import { nextTimes } from '../../jobs/schedule.ts'

/** A job whose time was longer ago is not made up: its next night is near, or people see that it is missing. */
export const MAKE_UP_MS = 12 * 3_600_000
/** Times that are asked for at once; those of a job each minute reach four hours ahead. */
const COUNT = 1000
/** What is told to the planner. */
const TOLD = 10

/** How far back it is looked for the last time of a job that is due so often. */
const LATELY_MS = 120_000

interface Known {
  key: string
  times: number[]
  promise: number | null
}

export class JobTimes {
  readonly #known = new Map<string, Known>()

  /** Milliseconds since 1970; `promise` in seconds. Null and none if the schedule cannot be read. */
  async of(job: Job, now: number): Promise<{ last: number | null; next: number[]; promise: number | null }> {
    const key = JSON.stringify([job.schedule, job.promise])
    let known = this.#known.get(job.name)
    if (known === undefined || known.key !== key || !known.times.some((time) => time > now)) {
      const times = await timesFrom(job, now - MAKE_UP_MS)
      // Those of a job each few seconds end long before now.
      if (times.length >= COUNT && times.at(-1)! <= now) times.push(...(await timesFrom(job, now - LATELY_MS)))
      known = { key, times, promise: await promiseOf(job, now) }
      this.#known.set(job.name, known)
    }
    const next = known.times.filter((time) => time > now)
    const last = known.times.findLast((time) => time <= now && time > now - MAKE_UP_MS) ?? null
    return { last, next: next.slice(0, TOLD), promise: known.promise }
  }
}

async function timesFrom(job: Job, from: number): Promise<number[]> {
  return (await nextTimes(job.schedule ?? [], from, COUNT).catch(() => null)) ?? []
}
