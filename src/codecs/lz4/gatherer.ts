/** Copies content into pieces of STREAM_PIECE bytes from the budget, which reuses their memory. */

import type { Slab } from '../../core/budget.ts'
import type { Chunk } from '../../core/items.ts'
import { fitted } from '../content-memory.ts'
import { type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'

export class Gatherer {
  readonly #context: DecoderContext
  readonly #look: (chunk: Chunk) => void
  #slab: Slab | null = null
  #filled = 0

  /** `look` is called for each piece, in order. */
  constructor(context: DecoderContext, look: (chunk: Chunk) => void = () => {}) {
    this.#context = context
    this.#look = look
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.length; ) {
      this.#slab ??= await this.#context.outputs.take(STREAM_PIECE)
      const part = bytes.subarray(from, from + STREAM_PIECE - this.#filled)
      this.#slab.buffer.set(part, this.#filled)
      this.#filled += part.length
      from += part.length
      if (this.#filled === STREAM_PIECE) await this.flush()
    }
  }

  /** Passes on the last piece. */
  async flush(): Promise<void> {
    const slab = this.#slab
    if (slab === null) return
    const chunk = fitted(this.#context.outputs, slab.buffer.subarray(0, this.#filled), slab)
    this.#slab = null
    this.#filled = 0
    await this.#context.order.pass(chunk, this.#look)
  }
}
