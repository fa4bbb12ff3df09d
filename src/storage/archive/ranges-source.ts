/** Reads an archive that can be read in any order from its beginning to its end. Several ranges are on the way at once. */

import type { Budget } from '../../core/budget.ts'
import { Chunk } from '../../core/items.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { type ArchiveSource, pieceBytes, type SourceOptions } from './endpoint.ts'

/** Bytes of one request. A request costs a round trip, and money. */
const LARGEST_PIECE = 4 << 20

/** Requests at once: one connection rarely gives all that the network can. */
const IN_FLIGHT = 4

export class RangesSource implements ArchiveSource {
  readonly #open: () => Promise<ArchiveBytes>
  readonly #budget: Budget
  #bytes: ArchiveBytes | null = null
  #offset = 0
  readonly #ahead: Promise<Chunk>[] = []

  constructor(open: () => Promise<ArchiveBytes>, { budget }: Pick<SourceOptions, 'budget'>) {
    this.#open = open
    this.#budget = budget
  }

  get size(): number | undefined {
    return this.#bytes?.size
  }

  async open(): Promise<void> {
    this.#bytes = await this.#open()
  }

  async read(): Promise<Chunk | null> {
    while (this.#ahead.length < IN_FLIGHT && this.#offset < this.#bytes!.size) this.#readAhead()
    return (await this.#ahead.shift()) ?? null
  }

  async close(): Promise<void> {
    await this.#bytes?.close()
    for (const piece of await Promise.allSettled(this.#ahead.splice(0))) {
      if (piece.status === 'fulfilled') piece.value.release()
    }
  }

  #readAhead(): void {
    const offset = this.#offset
    const wanted = Math.min(pieceBytes(this.#budget, LARGEST_PIECE), this.#bytes!.size - offset)
    this.#offset += wanted
    const piece = this.#readPiece(offset, wanted)
    // It may fail while an earlier one is still awaited.
    piece.catch(() => {})
    this.#ahead.push(piece)
  }

  async #readPiece(offset: number, wanted: number): Promise<Chunk> {
    const slab = await this.#budget.take(pieceBytes(this.#budget, LARGEST_PIECE))
    try {
      const buffer = slab.buffer.subarray(0, wanted)
      await this.#bytes!.read(buffer, offset)
      return new Chunk([buffer], [slab])
    } catch (error) {
      slab.release()
      throw error
    }
  }
}
