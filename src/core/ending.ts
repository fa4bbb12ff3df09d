/** The end of one of several users of a budget: what it waits for is refused. Other users do not notice. */

export class Ending {
  error: Error | null = null
  readonly #refusals = new Set<(error: Error) => void>()

  /** Refuses all that is waited for, and what comes later. Only the first error counts. */
  come(error: Error): void {
    this.error ??= error
    for (const refuse of this.#refusals) refuse(this.error)
    this.#refusals.clear()
  }

  /** Waits for `grant` or for the end. A grant that comes after the end is undone. */
  orElse(grant: Promise<void>, undo: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#refusals.add(reject)
      grant.then(() => {
        this.#refusals.delete(reject)
        if (this.error !== null) undo()
        resolve()
      }, reject)
    })
  }
}
