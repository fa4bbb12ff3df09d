/**
 * Flushes of one disk, one at a time. Who asks while one runs gets the next, together with all others that ask
 * meanwhile: what they want durable may have been written after the running one began.
 *
 * The kernel tells of a failed write-back once and then forgets the data: a second fdatasync would succeed over a hole.
 * So a flush that has failed fails for ever, unless it is known to have lost nothing.
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

  /** What was written may be lost: no flush succeeds any more. */
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
