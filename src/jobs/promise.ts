/** How old the last good backup of a guest may be: what its job promises. It is told by the job file, or follows from the schedule. */

import type { Job } from './file/schema.ts'
import { nextTimes } from './schedule.ts'

/** Intervals that begin in so many milliseconds are looked at: a week with its weekend is in them wherever they begin. */
const AHEAD_MS = 14 * 86_400_000
/** Times that are asked for at first: two weeks of a job that runs each hour. */
const FEW = 340
/** Times that are asked for if those do not reach: two weeks of a job that runs each five minutes. */
const MANY = 4100
/** A backup takes its time, and may be tried again: half of the interval is added. */
const SLACK = 1.5

/**
 * Seconds after which a guest's last good backup is older than its job promises: `promise` of the job file, or one and a half of the longest
 * interval of its schedule. Null if it has neither, or nobody can tell the times. `now`: milliseconds since 1970.
 */
export async function promiseOf({ promise, schedule }: Pick<Job, 'promise' | 'schedule'>, now: number) {
  if (promise !== undefined) return promise / 1000
  if (schedule === undefined) return null
  const longest = await longestInterval(schedule, now)
  return longest === null ? null : Math.round((longest * SLACK) / 1000)
}

async function longestInterval(schedule: readonly string[], now: number): Promise<number | null> {
  const until = now + AHEAD_MS
  let times = await timesOf(schedule, now, FEW)
  if (times.length >= FEW && times.at(-1)! < until) times = await timesOf(schedule, now, MANY)
  // The first interval counts wherever it is: a job may run once a month.
  const intervals = times.slice(1).flatMap((time, at) => (at === 0 || times[at] <= until ? [time - times[at]] : []))
  return intervals.length === 0 ? null : Math.max(...intervals)
}

/** None if the schedule cannot be read: `job check` tells why. */
async function timesOf(schedule: readonly string[], now: number, count: number): Promise<number[]> {
  return (await nextTimes(schedule, now, count).catch(() => null)) ?? []
}
