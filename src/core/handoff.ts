/** Hands values from one side to another, one at a time: the giver waits until the taker has come. */

interface Offer<T> {
  value: T | null
  taken: () => void
  refused: (error: unknown) => void
}

export class Handoff<T> {
  #offer: Offer<T> | null = null
  #taker: { take: (value: T | null) => void; refuse: (error: unknown) => void } | null = null
  #closed: { error: unknown } | null = null
  #isDone = false

  /** Resolves when the value was taken; null is the end. Rejects with the error of `close`. */
  give(value: T | null): Promise<void> {
    if (this.#closed !== null) return Promise.reject(this.#closed.error)
    if (this.#taker === null) {
      return new Promise((taken, refused) => {
        this.#offer = { value, taken, refused }
      })
    }
    this.#taker.take(value)
    this.#taker = null
    return Promise.resolve()
  }

  /** The next value; null at the end. Rejects with the error of `close`. */
  take(): Promise<T | null> {
    if (this.#closed !== null) return Promise.reject(this.#closed.error)
    const offer = this.#offer
    if (offer === null) {
      return new Promise((take, refuse) => {
        this.#taker = { take, refuse }
      })
    }
    this.#offer = null
    offer.taken()
    return Promise.resolve(offer.value)
  }

  /** Fails both sides, those that wait too. Returns the value that was offered and not taken. */
  close(error: unknown): T | null {
    this.#closed ??= { error }
    const value = this.#offer?.value ?? null
    this.#offer?.refused(error)
    this.#offer = null
    this.#taker?.refuse(error)
    this.#taker = null
    return value
  }

  /** The taker wants nothing more. Returns the value that was offered and not taken. */
  stop(): T | null {
    this.#isDone = true
    const offer = this.#offer
    this.#offer = null
    offer?.taken()
    return offer?.value ?? null
  }

  /** Whether `stop` was called. */
  get isDone(): boolean {
    return this.#isDone
  }
}
