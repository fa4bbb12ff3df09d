/** A sleep of any length that ends with an error if the run is aborted. */

import { setTimeout as sleep } from 'node:timers/promises'

/** The longest timer of Node in milliseconds. A longer one fires at once, because Node keeps the time in 32 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Sleeps `ms` milliseconds. Rejects if `signal` is aborted. `Infinity` sleeps until then. */
export async function sleepUntilAborted(ms: number, signal: AbortSignal): Promise<void> {
  for (let left = ms; left > 0; left -= LONGEST_TIMER_MS) {
    await sleep(Math.min(left, LONGEST_TIMER_MS), undefined, { signal })
  }
}
