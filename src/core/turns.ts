/** Lets other events (signals, requests of guests, timers) run while a loop works for long without waiting. */

import { setImmediate } from 'node:timers/promises'

/** Milliseconds that a loop works at most before other events run. */
const LONGEST = 20

export class Turns {
  #since = performance.now()

  /** Await this in each round of the loop. It is undefined until 20 ms of work have passed. */
  take(): Promise<void> | undefined {
    return performance.now() - this.#since < LONGEST ? undefined : this.#others()
  }

  async #others(): Promise<void> {
    await setImmediate()
    this.#since = performance.now()
  }
}
