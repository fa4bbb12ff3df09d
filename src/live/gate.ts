/** Stands for something that is under way and that requests may wait for. It costs nothing if none does. */
export class Gate {
  #open = false
  #waiting: (() => void)[] = []

  /** Lets all waiting requests continue, and those that come later. */
  open(): void {
    this.#open = true
    for (const go of this.#waiting.splice(0)) go()
  }

  passed(): Promise<void> {
    return this.#open ? Promise.resolve() : new Promise((go) => this.#waiting.push(go))
  }
}
