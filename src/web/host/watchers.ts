/** Those who look at the page: they are told what has changed, at most four times a second, and looking ends with the last of them. */

export type Changed = 'now' | 'guests' | 'archives' | 'jobs' | 'hosts'

const EVERY_MS = 250

export class Watchers {
  readonly #begin: () => () => void
  readonly #watchers = new Set<(what: Changed) => void>()
  readonly #pending = new Set<Changed>()
  #end: (() => void) | null = null
  #timer: NodeJS.Timeout | null = null
  #told = 0

  /** `begin` is called with the first of them, and what it returns after the last. */
  constructor(begin: () => () => void) {
    this.#begin = begin
  }

  add(changed: (what: Changed) => void): () => void {
    const watcher = (what: Changed) => changed(what)
    this.#watchers.add(watcher)
    this.#end ??= this.#begin()
    return () => {
      if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return
      this.#stop()
    }
  }

  tell(...what: Changed[]): void {
    if (this.#watchers.size === 0) return
    for (const one of what) this.#pending.add(one)
    if (this.#timer !== null) return
    const wait = Math.max(0, EVERY_MS - (performance.now() - this.#told))
    this.#timer = setTimeout(() => this.#flush(), wait)
    this.#timer.unref()
  }

  close(): void {
    this.#watchers.clear()
    this.#stop()
  }

  #flush(): void {
    this.#timer = null
    this.#told = performance.now()
    const all = [...this.#pending]
    this.#pending.clear()
    for (const watcher of this.#watchers) for (const what of all) watcher(what)
  }

  #stop(): void {
    this.#end?.()
    this.#end = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#pending.clear()
  }
}
