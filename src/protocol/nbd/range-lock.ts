/**
 * Ranges of bytes that are being written. A block of which only a part is written is read, changed and written back as a whole:
 * no other write may come in between.
 */

interface Held {
  start: number
  end: number
  exclusive: boolean
  left: Promise<void>
}

export class RangeLock {
  readonly #held = new Set<Held>()

  /**
   * Resolves with the function that lets go of the bytes from `start` to `end`. Others may hold them at the same time unless one
   * of both is exclusive.
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

  #against(start: number, end: number, exclusive: boolean): Held | undefined {
    for (const held of this.#held) {
      if (held.start < end && start < held.end && (exclusive || held.exclusive)) return held
    }
    return undefined
  }
}
