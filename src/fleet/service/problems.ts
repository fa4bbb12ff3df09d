/** What people should know: kept for a day after it was last seen, and not more than a hundred, as a host could tell lies without end. */

const KEPT_MS = 24 * 3600_000
const MOST = 100

export class Problems {
  /** The text, and when it was last seen. */
  readonly #seen = new Map<string, number>()
  readonly #warn: (line: string) => void

  constructor(warn: (line: string) => void) {
    this.#warn = warn
  }

  add(text: string, now: number): void {
    const isNew = !this.#seen.delete(text)
    this.#seen.set(text, now)
    if (this.#seen.size > MOST) this.#seen.delete(this.#seen.keys().next().value!)
    if (isNew) this.#warn(text)
  }

  remove(text: string): void {
    this.#seen.delete(text)
  }

  /** The newest first. */
  list(now: number): string[] {
    for (const [text, at] of this.#seen) if (now - at > KEPT_MS) this.#seen.delete(text)
    return [...this.#seen.keys()].reverse()
  }
}
