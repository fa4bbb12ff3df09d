/** Watches a number, and raises an alarm if it has been the same for too long. */
export class Progress {
  readonly #number: () => number
  #timer: NodeJS.Timeout | null = null

  /** `number` changes as long as there is progress. */
  constructor(number: () => number) {
    this.#number = number
  }

  /** Calls `alarm` once, when the number has not changed for `limit` milliseconds, or up to a quarter longer. */
  watch(limit: number, alarm: (milliseconds: number) => void): void {
    let last = this.#number()
    let at = performance.now()
    this.#timer = setInterval(() => {
      const number = this.#number()
      const now = performance.now()
      if (number !== last) {
        last = number
        at = now
      } else if (now - at >= limit) {
        this.unwatch()
        alarm(now - at)
      }
    }, limit / 4)
    this.#timer.unref()
  }

  unwatch(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
