/**
 * Tells listeners what has changed, at most four times a second: at once, and once more if there were changes meanwhile. A list is named only
 * if it may look different now: most heartbeats, of which there are a hundred a second, change nothing.
 */

import type { FleetTopic } from '../fleet.ts'

const PAUSE_MS = 250

type Listener = (topics: ReadonlySet<FleetTopic>) => void

export class Changes {
  readonly #listeners = new Set<Listener>()
  #pause: NodeJS.Timeout | null = null
  #missed = new Set<FleetTopic>()

  /** Whether somebody looks: agents are asked for progress then. */
  get areWatched(): boolean {
    return this.#listeners.size > 0
  }

  watch(changed: Listener): () => void {
    // Two callers may give the same function.
    const listener: Listener = (topics) => changed(topics)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  tell(...topics: FleetTopic[]): void {
    if (this.#listeners.size === 0) return
    for (const topic of topics) this.#missed.add(topic)
    if (this.#pause !== null || this.#missed.size === 0) return
    const told = this.#missed
    this.#missed = new Set()
    this.#pause = setTimeout(() => {
      this.#pause = null
      this.tell()
    }, PAUSE_MS)
    this.#pause.unref()
    for (const listener of [...this.#listeners]) listener(told)
  }

  close(): void {
    this.#listeners.clear()
    if (this.#pause !== null) clearTimeout(this.#pause)
  }
}
