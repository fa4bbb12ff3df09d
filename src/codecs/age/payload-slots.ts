/** Memory for chunks of a payload on their way to a worker and back, bounded by a part of the budget. */

import type { Budget } from '../../core/budget.ts'
import type { Lease } from '../../core/lease.ts'
import { SEALED } from '../../formats/age/payload.ts'

/** Chunks that go to a worker at once: 1 MiB of content. */
const CHUNKS = 16

/** Bytes of a slot: a whole number of sealed chunks. */
export const SLOT = CHUNKS * SEALED

export interface Slot {
  memory: ArrayBuffer
  lease: Lease
}

export class PayloadSlots {
  readonly #part: Budget
  readonly #idle: ArrayBuffer[] = []

  /** As many slots as keep `workers` busy while others are filled and written. */
  constructor(budget: Budget, name: string, workers: number) {
    this.#part = budget.carve((2 * workers + 2) * SLOT, name)
  }

  async take(): Promise<Slot> {
    const slot: Partial<Slot> = {}
    slot.lease = await this.#part.charge(SLOT, () => {
      // It is detached while it is at a worker, and that worker may have been ended.
      if (slot.memory!.byteLength > 0) this.#idle.push(slot.memory!)
    })
    slot.memory = this.#idle.pop() ?? new ArrayBuffer(SLOT)
    return slot as Slot
  }

  close(error: Error): void {
    this.#part.close(error)
    this.#idle.length = 0
  }
}
