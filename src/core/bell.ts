/**
 * A bell wakes those that wait for a change. They look at what has changed by themselves, and wait again if it is not what they
 * need: a ring carries nothing, and is forgotten if nobody waits.
 */
export class Bell {
  #next: PromiseWithResolvers<void> | null = null

  /** Resolves at the next ring. */
  next(): Promise<void> {
    this.#next ??= Promise.withResolvers()
    return this.#next.promise
  }

  /** Wakes all that wait. It costs nothing if nobody does. */
  ring(): void {
    const next = this.#next
    this.#next = null
    next?.resolve()
  }
}
