/** Limits how many requests are in flight. The others wait, in order. */
export class Slots {
  #free: number
  readonly #waiting: { enter: () => void; refuse: (error: Error) => void }[] = []
  #closed: Error | null = null

  constructor(count: number) {
    this.#free = count
  }

  /** Takes a slot. Undefined if one is free at once. */
  enter(): Promise<void> | undefined {
    if (this.#closed) throw this.#closed
    if (this.#free > 0) {
      this.#free--
      return undefined
    }
    return new Promise((enter, refuse) => {
      this.#waiting.push({ enter, refuse })
    })
  }

  leave(): void {
    const next = this.#waiting.shift()
    if (next) next.enter()
    else this.#free++
  }

  close(error: Error): void {
    this.#closed ??= error
    for (const { refuse } of this.#waiting.splice(0)) refuse(error)
  }
}
