/** Reads an object of an S3 store from its beginning to its end. Several ranges are on the way at once. */

import type { Budget } from '../../../core/budget.ts'
import { Chunk } from '../../../core/items.ts'
import { type ArchiveSource, pieceBytes, type SourceOptions } from '../endpoint.ts'
import { RangeReader } from './range-reader.ts'
import type { S3Place } from './s3-url.ts'

/** Bytes of one request. A request costs a round trip, and money. */
const LARGEST_PIECE = 4 << 20

/** Requests at once: one connection rarely gives all that the network can. */
const IN_FLIGHT = 4

export class S3Source implements ArchiveSource {
  readonly #place: S3Place
  readonly #options: SourceOptions
  readonly #budget: Budget
  #reader: RangeReader | null = null
  #offset = 0
  readonly #ahead: Promise<Chunk>[] = []

  constructor(place: S3Place, options: SourceOptions) {
    this.#place = place
    this.#options = options
    this.#budget = options.budget
  }

  get size(): number | undefined {
    return this.#reader?.size
  }

  async open(): Promise<void> {
    this.#reader = await RangeReader.open(this.#place, this.#options)
  }

  async read(): Promise<Chunk | null> {
    while (this.#ahead.length < IN_FLIGHT && this.#offset < this.#reader!.size) this.#readAhead()
    return (await this.#ahead.shift()) ?? null
  }

  async close(): Promise<void> {
    await this.#reader?.close()
    for (const piece of await Promise.allSettled(this.#ahead.splice(0))) {
      if (piece.status === 'fulfilled') piece.value.release()
    }
  }

  #readAhead(): void {
    const offset = this.#offset
    const wanted = Math.min(pieceBytes(this.#budget, LARGEST_PIECE), this.#reader!.size - offset)
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
      await this.#reader!.read(buffer, offset)
      return new Chunk([buffer], [slab])
    } catch (error) {
      slab.release()
      throw error
    }
  }
}
