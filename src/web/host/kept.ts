/** A value that is made again in the background: an answer takes the last one, and waits only for the first. */

import { setTimeout as sleep } from 'node:timers/promises'

interface KeptOptions<T> {
  make: () => Promise<T>
  /** Milliseconds after which an answer makes it again. */
  age: number
  /** Called when it was made again. */
  made?: (value: T, before: T | undefined) => void
}

/** Milliseconds that an answer waits for a new value if there is an old one. */
const PATIENCE_MS = 60

export class Kept<T> {
  readonly #options: KeptOptions<T>
  #value: { value: T; at: number } | null = null
  #making: Promise<T> | null = null
  #isStale = false

  constructor(options: KeptOptions<T>) {
    this.#options = options
  }

  /** The last value that was made; null if there is none yet. */
  get last(): T | null {
    return this.#value?.value ?? null
  }

  /** The value, not much older than its age if it can be made quickly. Errors: those of the first time. */
  async get(): Promise<T> {
    const known = this.#value
    if (known === null) return this.#make()
    if (!this.#isStale && performance.now() - known.at < this.#options.age) return known.value
    const made = this.#make().catch(() => known.value)
    const late = new AbortController()
    const patience = sleep(PATIENCE_MS, known.value, { signal: late.signal }).catch(() => known.value)
    return Promise.race([made, patience]).finally(() => late.abort())
  }

  /** The same, but if there is none yet and it is not made within `ms` milliseconds, null. Errors: those of the first time. */
  async within(ms: number): Promise<T | null> {
    if (this.#value !== null) return this.get()
    const late = new AbortController()
    const patience = sleep(ms, null, { signal: late.signal }).catch(() => null)
    return Promise.race([this.#make(), patience]).finally(() => late.abort())
  }

  /** Makes it anew, from what there is now. Errors: those of making it. */
  async fresh(): Promise<T> {
    // What is being made may have looked before something changed.
    await this.#making?.catch(() => {})
    return this.#make()
  }

  /** The next answer makes it again. */
  spoil(): void {
    this.#isStale = true
  }

  #make(): Promise<T> {
    this.#making ??= this.#made().finally(() => {
      this.#making = null
    })
    return this.#making
  }

  async #made(): Promise<T> {
    this.#isStale = false
    const value = await this.#options.make()
    const before = this.#value?.value
    this.#value = { value, at: performance.now() }
    this.#options.made?.(value, before)
    return value
  }
}
