/** The part of the day in which guests are begun. It is in the time of this host's zone: days of 23 and 25 hours are days too. */

import type { Clock } from '../clock.ts'
import type { Job } from '../file/schema.ts'
import type { Window } from '../file/values.ts'

const DAY_MINUTES = 24 * 60

/** Whether the window is open at this time, in milliseconds since 1970. */
export function isOpen({ from, to }: Window, now: number): boolean {
  const time = new Date(now)
  const minute = time.getHours() * 60 + time.getMinutes()
  return from < to ? from <= minute && minute < to : minute >= from || minute < to % DAY_MINUTES
}

/** When it ends next, in milliseconds since 1970. */
export function nextEnd({ to }: Window, now: number): number {
  return next(to % DAY_MINUTES, now)
}

/** When it begins next. */
export function nextBegin({ from }: Window, now: number): number {
  return next(from, now)
}

/** The next time at which clocks on the wall show this minute; if they skip it, what they show instead. */
function next(minute: number, now: number): number {
  const today = new Date(now)
  for (const day of [0, 1, 2]) {
    const date = [today.getFullYear(), today.getMonth(), today.getDate() + day] as const
    const time = new Date(...date, Math.floor(minute / 60), minute % 60).getTime()
    if (time > now) return time
  }
  throw new Error('no day has such a minute')
}

/** Waits until the window of the job is open; `say` is told what for. */
export async function untilOpen(
  job: Job,
  clock: Clock,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  const window = job.limits?.window
  while (window !== undefined && !isOpen(window, clock.now())) {
    const begin = nextBegin(window, clock.now())
    say(`waiting for the window, which begins at ${new Date(begin).toISOString()}`)
    await clock.sleep(begin - clock.now(), signal)
  }
}
