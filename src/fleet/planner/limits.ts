/** Counts how many works use each host, place and storage, and knows which limits may have room again. */

import { Heap } from './heap.ts'
import { byFirst, type Limit, type Usage } from './lane.ts'
import type { NeededLimit } from './limit-keys.ts'

export class Limits {
  readonly #usages = new Map<string, Usage>()
  /** What hosts may use that have not said what they run. */
  readonly #held = new Map<string, readonly string[]>()
  /** Limits that may have room. */
  readonly opened = new Set<Limit>()

  count(key: string): number {
    return this.#usages.get(key)?.count ?? 0
  }

  /** A limit for a new lane. */
  take({ key, most, what }: NeededLimit): Limit {
    const usage = this.#usage(key)
    const made = usage.limits.get(most) ?? { usage, most, what, parked: new Heap(byFirst), isProbed: false, lanes: 0 }
    usage.limits.set(most, made)
    made.lanes++
    return made
  }

  /** The lane is gone. */
  leave(limit: Limit): void {
    if (--limit.lanes > 0) return
    limit.usage.limits.delete(limit.most)
    this.opened.delete(limit)
    this.#drop(limit.usage)
  }

  use(key: string): void {
    this.#usage(key).count++
  }

  free(key: string): void {
    const usage = this.#usages.get(key)!
    usage.count--
    this.open(usage)
    this.#drop(usage)
  }

  /** The host may use these, and nobody knows how much. */
  hold(host: string, keys: readonly string[]): void {
    this.release(host)
    this.#held.set(host, keys)
    for (const key of keys) this.#usage(key).unheard.add(host)
  }

  release(host: string): void {
    for (const key of this.#held.get(host) ?? []) {
      const usage = this.#usages.get(key)!
      usage.unheard.delete(host)
      if (usage.unheard.size > 0) continue
      this.open(usage)
      this.#drop(usage)
    }
    this.#held.delete(host)
  }

  /** It has room, or a slot is no longer kept. */
  open(usage: Usage): void {
    for (const limit of usage.limits.values()) if (limit.parked.size > 0) this.opened.add(limit)
  }

  #usage(key: string): Usage {
    const known = this.#usages.get(key)
    if (known !== undefined) return known
    const usage: Usage = { key, count: 0, unheard: new Set(), limits: new Map(), keeper: null }
    this.#usages.set(key, usage)
    return usage
  }

  #drop(usage: Usage): void {
    if (usage.count === 0 && usage.limits.size === 0 && usage.unheard.size === 0) this.#usages.delete(usage.key)
  }
}
