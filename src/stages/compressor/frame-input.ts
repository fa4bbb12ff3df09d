/**
 * The content of one frame, while it is gathered: chunks are copied into memory of the frame, because an encoder takes one piece. Long
 * parts can be copied in libuv's pool, beside the event loop.
 */

import type { Lease, Slab } from '../../core/lease.ts'
import { memoryCalls } from '../../system/memory-calls.ts'

/** Bytes that the event loop copies in the time that it takes to ask the pool (512 KiB). */
const WORTH_ASKING = 512 << 10

export class FrameInput {
  readonly #slab: Slab
  readonly #calls: ReturnType<typeof memoryCalls>
  readonly #copies: Promise<void>[] = []
  /** Copies that have not ended. */
  #underWay = 0
  #filled = 0

  /** `beside` says whether to copy beside the event loop. */
  constructor(slab: Slab, beside: boolean) {
    this.#slab = slab
    this.#calls = beside ? memoryCalls() : null
  }

  /** Bytes that it has. */
  get length(): number {
    return this.#filled
  }

  /** Appends bytes, which must fit. `leases` are what keeps them: they are held until the bytes were copied. */
  append(bytes: Uint8Array, leases: readonly Lease[]): void {
    const at = this.#filled
    this.#filled += bytes.byteLength
    const calls = bytes.byteLength >= WORTH_ASKING ? this.#calls : null
    if (calls === null) {
      this.#slab.buffer.set(bytes, at)
      return
    }
    for (const lease of leases) lease.retain()
    this.#underWay++
    const copy = calls.copy(this.#slab.buffer.subarray(at), bytes).finally(() => {
      this.#underWay--
      for (const lease of leases) lease.release()
    })
    // `content` awaits it later and gets the error.
    copy.catch(() => {})
    this.#copies.push(copy)
  }

  /** All bytes, when they were copied. */
  async content(): Promise<Buffer> {
    await Promise.all(this.#copies)
    return this.#slab.buffer.subarray(0, this.#filled)
  }

  /** Gives the memory back as soon as no copy writes into it. */
  release(): void {
    if (this.#underWay === 0) this.#slab.release()
    else void Promise.allSettled(this.#copies).then(() => this.#slab.release())
  }
}
