/** Time that goes on only from one event to the next. */

import { Heap } from '../../../src/fleet/planner/heap.ts'

interface Timer {
  at: number
  time: number
  order: number
  run: () => void
}

export class VirtualClock {
  now: number
  readonly #timers = new Heap<Timer>((a, b) => a.time - b.time || a.order - b.order)
  #order = 0

  constructor(now: number) {
    this.now = now
  }

  /** Returns what cancels it. */
  after(milliseconds: number, run: () => void): () => void {
    const timer = { at: -1, time: this.now + milliseconds, order: this.#order++, run }
    this.#timers.push(timer)
    return () => {
      if (timer.at >= 0) this.#timers.remove(timer)
    }
  }

  every(milliseconds: number, first: number, run: () => void): void {
    const again = () => {
      this.after(milliseconds, again)
      run()
    }
    this.after(first, again)
  }

  goOn(until: number): void {
    for (let next = this.#timers.first; next !== undefined && next.time <= until; next = this.#timers.first) {
      this.#timers.remove(next)
      this.now = next.time
      next.run()
    }
    this.now = until
  }
}
