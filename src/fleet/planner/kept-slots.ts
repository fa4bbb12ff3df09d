/**
 * Keeps slots for lanes that would starve. A work that needs a slot of two storages finds one of them full each time that the other has room, as
 * works that need only one are always ready to take it. After a few such misses a slot of each of its limits is kept for it when one becomes
 * free. Each limit keeps one slot, for one lane, which has all of its limits or none: so no two lanes wait for each other, and at most one slot of
 * a limit is idle.
 */

import type { Lane } from './lane.ts'
import type { Limits } from './limits.ts'

/** Misses in a row after which slots are kept. */
export const PATIENCE = 3

export class KeptSlots {
  readonly #limits: Limits
  readonly #patience: number
  /** Those that were passed over, the first of them first. */
  readonly #starving = new Set<Lane>()
  readonly #keepers = new Set<Lane>()

  constructor(limits: Limits, patience = PATIENCE) {
    this.#limits = limits
    this.#patience = patience
  }

  get keepers(): Iterable<Lane> {
    return this.#keepers
  }

  /** One of its limits had room, and another had none. */
  missed(lane: Lane): void {
    if (++lane.misses < this.#patience || this.#keepers.has(lane)) return
    this.#starving.add(lane)
    this.#grant()
  }

  /** It has begun a work, or cannot for another reason. */
  release(lane: Lane): void {
    lane.misses = 0
    this.#starving.delete(lane)
    if (!this.#keepers.delete(lane)) return
    for (const { usage } of lane.limits) {
      if (usage.keeper === lane) usage.keeper = null
      this.#limits.open(usage)
    }
    this.#grant()
  }

  #grant(): void {
    for (const lane of this.#starving) {
      if (lane.limits.some(({ usage }) => usage.keeper !== null)) continue
      for (const { usage } of lane.limits) usage.keeper = lane
      this.#starving.delete(lane)
      this.#keepers.add(lane)
    }
  }
}
