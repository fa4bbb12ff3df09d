/** Something that is under way and that others may wait for; it costs nothing where nobody does. */
export class Gate {
  #open = false
  #waiting: (() => void)[] = []

  /** Lets everybody go, now and from now on. */
  open(): void {
    this.#open = true
    for (const go of this.#waiting.splice(0)) go()
  }

  passed(): Promise<void> {
    return this.#open ? Promise.resolve() : new Promise((go) => this.#waiting.push(go))
  }
}
