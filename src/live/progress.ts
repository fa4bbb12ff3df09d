/** Watches a number, and raises an alarm if it has been the same for too long. */
export class Progress {
  readonly #number: () => number
  #timer: NodeJS.Timeout | null = null

  /** `number` changes as long as there is progress. */
  constructor(number: () => number) {
    this.#number = number
  }

  /**
   * Calls `alarm` once, when the number has not changed for `limit` milliseconds, or up to a quarter longer. A look that comes late
   * counts as if it came in time: this process was held (SIGSTOP, a frozen cgroup), and nothing can have moved meanwhile.
   */
  watch(limit: number, alarm: (milliseconds: number) => void): void {
    const every = limit / 4
    let last = this.#number()
    let idle = 0
    let looked = performance.now()
    this.#timer = setInterval(() => {
      const number = this.#number()
      const now = performance.now()
      idle = number === last ? idle + Math.min(now - looked, every) : 0
      last = number
      looked = now
      if (idle < limit) return
      this.unwatch()
      alarm(idle)
    }, every)
    this.#timer.unref()
  }

  unwatch(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
