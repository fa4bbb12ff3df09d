/**
 * Keeps pieces of an archive in memory: whole extents, or the content of whole frames. A piece that many readers want is loaded once.
 * Several pieces are loaded at once. The least recently used piece makes room for the next.
 *
 * A reader that holds a piece must not wait for another one: there may be room for only one.
 */

import { LRUCache } from 'lru-cache'
import type { Budget, Lease } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'

/** Bytes in memory. The holder releases the lease. */
export interface View {
  bytes: Buffer
  lease: Lease
}

/** Loads a piece into memory from `PieceCache.room`. */
export type Load = () => Promise<View>

/** A piece to load in advance. */
interface Advance {
  key: number
  load: Load
  owner: number
}

interface Loading {
  waiters: number
  view: Promise<View>
}

export class PieceCache {
  readonly #memory: Budget
  readonly #parallel: number
  /** Holds a lease of each piece. Loaded pieces always fit: `room` has made room for their memory. */
  readonly #kept: LRUCache<number, View>
  readonly #loading = new Map<number, Loading>()
  #running = 0
  readonly #queue: (() => void)[] = []
  #ahead: Advance[] = []
  #closed = false

  /** At most `parallel` pieces are loaded at once. */
  constructor(memory: Budget, parallel: number) {
    this.#memory = memory
    this.#parallel = parallel
    this.#kept = new LRUCache({
      maxSize: Math.max(1, memory.capacity),
      sizeCalculation: ({ lease }) => Math.max(1, lease.bytes),
      dispose: ({ lease }) => lease.release(),
    })
  }

  /** Bytes of memory for all pieces. */
  get capacity(): number {
    return this.#memory.capacity
  }

  /** The piece if it is in memory, or null. The caller releases it. */
  peek(key: number): View | null {
    const kept = this.#kept.get(key)
    if (kept === undefined) return null
    kept.lease.retain()
    return kept
  }

  /** The piece, which is loaded if it is not in memory. The caller releases it. */
  get(key: number, load: Load): Promise<View> | View {
    const kept = this.peek(key)
    if (kept !== null) return kept
    if (this.#closed) throw closedError()
    const loading = this.#loading.get(key) ?? this.#begin(key, load, new Promise((go) => this.#enter(go)))
    loading.waiters++
    return loading.view
  }

  /** Loads these pieces in advance, in this order, while no reader waits for others. They replace those of the owner's last call. */
  ahead(pieces: { key: number; load: Load }[], owner = 0): void {
    const others = this.#ahead.filter((piece) => piece.owner !== owner)
    const wanted = pieces.filter(({ key }) => !this.#kept.has(key) && !this.#loading.has(key)).reverse()
    this.#ahead = [...others, ...wanted.map(({ key, load }) => ({ key, load, owner }))]
    this.#next()
  }

  /** Frees memory for a piece and calls `take` to lease it. */
  async room<T>(bytes: number, take: (memory: Budget) => Promise<T>): Promise<T> {
    while (this.#memory.lent + bytes > this.#memory.capacity && this.#kept.size > 0) this.#kept.pop()
    return take(this.#memory)
  }

  /** Gives up the memory beyond `least` bytes for something else. Call it before anything is loaded. */
  spare(least: number, name: string): Budget {
    return this.#memory.carve(Math.max(0, this.#memory.capacity - least), name)
  }

  /** Drops all pieces, and waits for those that are being loaded. */
  async close(): Promise<void> {
    this.#closed = true
    this.#ahead = []
    this.#memory.close(closedError())
    this.#kept.clear()
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
    // Loading in advance may fail while no reader waits. The piece is loaded again, and fails again, for a reader that wants it.
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
    while (this.#memory.waiting > 0 && this.#kept.size > 0) this.#kept.pop()
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

  /** Starts loads: first those that readers wait for, then those in advance. */
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
