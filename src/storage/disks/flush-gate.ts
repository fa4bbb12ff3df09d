/**
 * Runs the flushes of one disk, one at a time. Callers that come while a flush runs share the next one, because their data may have
 * been written after the running one began.
 *
 * The kernel reports a failed write-back once, and then forgets the data: a second fdatasync would succeed although data is lost. So
 * after a failure all flushes fail, unless the error is known to have lost nothing.
 */
export class FlushGate {
  readonly #sync: () => Promise<void>
  readonly #isHarmless: (error: unknown) => boolean
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  #failure: { error: unknown } | null = null

  constructor(sync: () => Promise<void>, isHarmless: (error: unknown) => boolean = () => false) {
    this.#sync = sync
    this.#isHarmless = isHarmless
  }

  flush(): Promise<void> {
    if (this.#running === null) return this.#start()
    this.#next ??= this.#running.then(
      () => this.#start(),
      () => this.#start(),
    )
    return this.#next
  }

  /** Makes all later flushes fail, because data may be lost. */
  fail(error: unknown): void {
    this.#failure ??= { error }
  }

  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  async #start(): Promise<void> {
    this.throwIfFailed()
    this.#next = null
    this.#running = this.#sync()
    try {
      await this.#running
    } catch (error) {
      if (!this.#isHarmless(error)) this.fail(error)
      throw error
    } finally {
      this.#running = null
    }
  }
}
