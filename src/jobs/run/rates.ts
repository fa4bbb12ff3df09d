/** Divides the bytes a second of a run among the backups that run. The rate may be changed at any time. */

interface Limited {
  setRate(rate: number | null): void
}

export class Rates {
  readonly #running = new Map<Limited, number | null>()
  #total: number | null

  /** Bytes a second of all together; null for no limit. */
  constructor(total: number | null) {
    this.#total = total
  }

  get total(): number | null {
    return this.#total
  }

  set total(rate: number | null) {
    this.#total = rate
    this.#divide()
  }

  /** What another backup would get. `own`: its own limit. */
  shareOf(own: number | null): number | null {
    return least(own, this.#total === null ? null : this.#total / (this.#running.size + 1))
  }

  add(one: Limited, own: number | null): void {
    this.#running.set(one, own)
    this.#divide()
  }

  remove(one: Limited): void {
    this.#running.delete(one)
    this.#divide()
  }

  #divide(): void {
    const share = this.#total === null ? null : Math.max(1, this.#total / this.#running.size)
    for (const [one, own] of this.#running) one.setRate(least(own, share))
  }
}

function least(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b)
}
