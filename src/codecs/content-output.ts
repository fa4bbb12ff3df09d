/**
 * The output of all decoders: content in order. Small pieces are joined, because frames and blocks may have a few bytes each, and a
 * piece takes more memory than that. The first piece is passed on at once: it is the header of an archive of ours, and what looks
 * at the beginning of a file alone may get no other.
 */

import type { Budget } from '../core/budget.ts'
import type { Chunk } from '../core/items.ts'
import type { Push } from '../core/stage.ts'
import type { ArchiveEnd } from './archive-end.ts'
import { moved } from './content-memory.ts'

/** Pieces of less than 16 KiB are joined, until they have 64 KiB together. */
const SMALL = 16 << 10
const JOINED = 64 << 10

export class ContentOutput {
  readonly #outputs: Budget
  readonly #end: ArchiveEnd
  readonly #report: (error: unknown) => void
  readonly #push: Push<Chunk>
  /** Whether the archive is not compressed: then nothing is copied, and its chunks are passed on as they were read. */
  joins = true
  #small: Chunk[] = []
  #bytes = 0
  #isFirst = true

  constructor(outputs: Budget, end: ArchiveEnd, report: (error: unknown) => void, push: Push<Chunk>) {
    this.#outputs = outputs
    this.#end = end
    this.#report = report
    this.#push = push
  }

  /** Passes on a chunk and reports its gap's damage. Chunks behind the end of the archive are dropped. */
  push(chunk: Chunk): void {
    if (this.#end.isOver) {
      chunk.release()
      return
    }
    this.#see(chunk)
    const isSmall = chunk.gap === null && chunk.byteLength < SMALL
    if (this.joins && isSmall && !this.#isFirst) this.#keep(chunk)
    else {
      this.#isFirst = false
      this.flush()
      this.#push(chunk)
    }
  }

  /** Passes on the pieces that are kept. */
  flush(): void {
    const small = this.#small
    if (small.length === 0) return
    this.#small = []
    this.#bytes = 0
    this.#push(small.length === 1 ? small[0] : this.#joined(small))
  }

  /** Releases the pieces that are kept. */
  clear(): void {
    for (const chunk of this.#small.splice(0)) chunk.release()
    this.#bytes = 0
  }

  #see(chunk: Chunk): void {
    try {
      if (chunk.gap !== null) this.#report(chunk.gap.error)
      if (this.joins) this.#end.see(chunk)
    } catch (error) {
      chunk.release()
      throw error
    }
  }

  #joined(small: readonly Chunk[]): Chunk {
    const buffers = small.flatMap(({ buffers }) => buffers)
    const leases = small.flatMap(({ leases }) => leases)
    return moved(this.#outputs, buffers, leases)
  }

  #keep(chunk: Chunk): void {
    this.#small.push(chunk)
    this.#bytes += chunk.byteLength
    if (this.#bytes >= JOINED) this.flush()
  }
}
