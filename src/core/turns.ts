/** Lets other events in while a loop works for long without waiting for anything: signals, guests, timers. */

import { setImmediate } from 'node:timers/promises'

/** Milliseconds that a loop works at most before others have their turn. */
const LONGEST = 20

export class Turns {
  #since = performance.now()

  /** To be awaited in every round; undefined while it is not time yet. */
  take(): Promise<void> | undefined {
    return performance.now() - this.#since < LONGEST ? undefined : this.#others()
  }

  async #others(): Promise<void> {
    await setImmediate()
    this.#since = performance.now()
  }
}
