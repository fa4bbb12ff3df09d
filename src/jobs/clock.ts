/** The time of a run. Tests give it one of their own, to live through sixty nights in minutes. */

import { sleepUntilAborted } from '../core/long-sleep.ts'

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Rejects if `signal` is aborted. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>
}

/** The clock of the system is looked at so often, in milliseconds: timers stand still while a host sleeps, and the clock may be set. */
const LOOK_MS = 30_000

export const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(milliseconds, signal) {
    const until = Date.now() + milliseconds
    for (let left = milliseconds; left > 0; left = Math.min(left, until - Date.now()))
      await sleepUntilAborted(Math.min(left, LOOK_MS), signal)
  },
}
