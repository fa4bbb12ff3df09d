/**
 * When a job runs next. A schedule is a cron expression, or an event as systemd reads it (systemd.time(7)), which systemd-analyze tells the
 * times of.
 */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Cron } from 'croner'
import { VmapipeError } from '../core/errors.ts'

/** Five fields of cron, or a word such as @daily. */
const CRON = /^(@(yearly|annually|monthly|weekly|daily|hourly)|[\d*,/A-Za-z?#L-]+( +[\d*,/A-Za-z?#L-]+){4})$/

const ANALYZE_MS = 10_000

export function isCron(schedule: string): boolean {
  // `Mon *-*-* 01:30` has a colon, as every event of systemd with a time has.
  return CRON.test(schedule.trim()) && !schedule.includes(':')
}

/**
 * The next `count` times after `now`, as milliseconds since 1970; null if systemd would be needed to tell and is not there. Throws CONFIG
 * for what is no schedule.
 */
export async function nextTimes(schedules: readonly string[], now: number, count: number): Promise<number[] | null> {
  const all: number[] = []
  for (const schedule of schedules) {
    const times = isCron(schedule) ? cronTimes(schedule, now, count) : await calendarTimes(schedule, now, count)
    if (times === null) return null
    all.push(...times)
  }
  return [...new Set(all)].sort((a, b) => a - b).slice(0, count)
}

function cronTimes(schedule: string, now: number, count: number): number[] {
  try {
    return new Cron(schedule.trim(), { paused: true }).nextRuns(count, new Date(now)).map((time) => time.getTime())
  } catch (cause) {
    throw wrong(schedule, (cause as Error).message, cause)
  }
}

async function calendarTimes(schedule: string, now: number, count: number): Promise<number[] | null> {
  const base = `@${Math.floor(now / 1000)}`
  const args = ['calendar', `--iterations=${count}`, `--base-time=${base}`, '--', schedule]
  const env = { ...process.env, LC_ALL: 'C', SYSTEMD_COLORS: '0' }
  try {
    const { stdout } = await promisify(execFile)('systemd-analyze', args, { env, timeout: ANALYZE_MS })
    // With a zone other than UTC there is a line "(in UTC)" below each time.
    const zoned = [...stdout.matchAll(/\(in UTC\): \w{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)/g)]
    const plain = [
      ...stdout.matchAll(/(?:Next elapse|Iteration #\d+|Iter\. #\d+): \w{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g),
    ]
    return (zoned.length > 0 ? zoned : plain).map(([, day, time]) => Date.parse(`${day}T${time}Z`))
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }
    if (code === 'ENOENT') return null
    const line = stderr?.trim().split('\n')[0] ?? (error as Error).message
    throw wrong(schedule, line, error)
  }
}

function wrong(schedule: string, why: string, cause: unknown): VmapipeError {
  return new VmapipeError('CONFIG', `'${schedule}' is no schedule: ${why}`, {
    hint: 'write it as systemd reads it, such as Mon..Sat 01:30, or as cron does, such as 30 1 * * 1-6',
    cause,
  })
}

/** When the job runs next, as ISO 8601; null if that is not known. */
export async function nextRun(schedules: readonly string[] | undefined, now: number): Promise<string | null> {
  if (schedules === undefined) return null
  const [next] = (await nextTimes(schedules, now, 1).catch(() => null)) ?? []
  return next === undefined ? null : new Date(next).toISOString()
}
