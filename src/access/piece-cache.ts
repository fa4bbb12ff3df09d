/**
 * Pieces of an archive in memory: whole extents, or the content of whole frames. A piece that many want is loaded once,
 * several are loaded at once, and the one that was not wanted for the longest time makes room for the next.
 *
 * Whoever holds a piece must not wait for another one: there may be room for one alone.
 */

import type { Budget, Lease } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'

/** Bytes in memory. Its holder releases the lease. */
export interface View {
  bytes: Buffer
  lease: Lease
}

/** Makes a piece, in memory of `PieceCache.room`. */
export type Load = () => Promise<View>

interface Loading {
  waiters: number
  view: Promise<View>
}

export class PieceCache {
  readonly #memory: Budget
  readonly #parallel: number
  /** The longest unused one first. */
  readonly #kept = new Map<number, View>()
  readonly #loading = new Map<number, Loading>()
  #running = 0
  readonly #queue: (() => void)[] = []
  #ahead: { key: number; load: Load }[] = []
  #closed = false

  /** At most `parallel` pieces are loaded at once. */
  constructor(memory: Budget, parallel: number) {
    this.#memory = memory
    this.#parallel = parallel
  }

  /** What there is room for. */
  get capacity(): number {
    return this.#memory.capacity
  }

  /** The piece, if it is here; the caller releases it. */
  peek(key: number): View | null {
    const kept = this.#kept.get(key)
    if (kept === undefined) return null
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    kept.lease.retain()
    return kept
  }

  /** The piece, which is loaded if need be; the caller releases it. */
  get(key: number, load: Load): Promise<View> | View {
    const kept = this.peek(key)
    if (kept !== null) return kept
    if (this.#closed) throw closedError()
    const loading = this.#loading.get(key) ?? this.#begin(key, load, new Promise((go) => this.#enter(go)))
    loading.waiters++
    return loading.view
  }

  /** These are wanted soon, in this order: they are loaded while nobody waits for others. What was said before is forgotten. */
  ahead(pieces: { key: number; load: Load }[]): void {
    this.#ahead = pieces.filter(({ key }) => !this.#kept.has(key) && !this.#loading.has(key)).reverse()
    this.#next()
  }

  /** Frees memory for a piece; to be followed by `take` or `charge` at once. */
  async room<T>(bytes: number, take: (memory: Budget) => Promise<T>): Promise<T> {
    while (this.#memory.used + bytes > this.#memory.capacity && this.#kept.size > 0) this.#evict()
    return take(this.#memory)
  }

  /** Waits for what is being loaded. */
  async close(): Promise<void> {
    this.#closed = true
    this.#ahead = []
    this.#memory.close(closedError())
    while (this.#kept.size > 0) this.#evict()
    await Promise.allSettled([...this.#loading.values()].map(({ view }) => view))
  }

  #begin(key: number, load: Load, turn: Promise<void>): Loading {
    const loading: Loading = { waiters: 0, view: turn.then(load) }
    this.#loading.set(key, loading)
    loading.view = loading.view.then(
      (view) => {
        this.#loading.delete(key)
        this.#keep(key, view, loading.waiters)
        this.#leave()
        return view
      },
      (error) => {
        this.#loading.delete(key)
        this.#leave()
        throw error
      },
    )
    // What was loaded ahead may fail with nobody there: it fails again for who wants it.
    loading.view.catch(() => {})
    return loading
  }

  #keep(key: number, view: View, waiters: number): void {
    view.lease.retain(waiters)
    if (this.#closed) {
      view.lease.release()
      return
    }
    this.#kept.set(key, view)
    while (this.#memory.waiting > 0 && this.#kept.size > 0) this.#evict()
  }

  #evict(): void {
    const [key, view] = this.#kept.entries().next().value!
    this.#kept.delete(key)
    view.lease.release()
  }

  #enter(go: () => void): void {
    if (this.#running < this.#parallel) {
      this.#running++
      go()
    } else this.#queue.push(go)
  }

  #leave(): void {
    this.#running--
    this.#next()
  }

  /** First who waits, then what is wanted soon. */
  #next(): void {
    while (this.#running < this.#parallel) {
      const waiting = this.#queue.shift()
      const soon = waiting === undefined ? this.#ahead.pop() : undefined
      if (waiting === undefined && soon === undefined) return
      if (soon !== undefined && (this.#kept.has(soon.key) || this.#loading.has(soon.key))) continue
      this.#running++
      if (waiting !== undefined) waiting()
      else this.#begin(soon!.key, soon!.load, Promise.resolve())
    }
  }
}

function closedError(): VmapipeError {
  return new VmapipeError('FAILED', 'the archive is closed')
}
