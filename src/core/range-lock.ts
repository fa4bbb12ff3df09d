/** Locks on ranges of numbers, such as bytes or blocks that are being written. */

interface Held {
  start: number
  end: number
  exclusive: boolean
  left: Promise<void>
}

export class RangeLock {
  readonly #held = new Set<Held>()

  /**
   * Waits for the range from `start` to `end`, and resolves with a function that gives it back. Two may hold the same range at
   * the same time unless one of them is exclusive.
   */
  async enter(start: number, end: number, exclusive: boolean): Promise<() => void> {
    for (let other = this.#against(start, end, exclusive); other; other = this.#against(start, end, exclusive)) {
      await other.left
    }
    const { promise: left, resolve } = Promise.withResolvers<void>()
    const held = { start, end, exclusive, left }
    this.#held.add(held)
    return () => {
      this.#held.delete(held)
      resolve()
    }
  }

  /** Waits until all that is held now is given back. */
  async idle(): Promise<void> {
    await Promise.all([...this.#held].map(({ left }) => left))
  }

  #against(start: number, end: number, exclusive: boolean): Held | undefined {
    for (const held of this.#held) {
      if (held.start < end && start < held.end && (exclusive || held.exclusive)) return held
    }
    return undefined
  }
}
