/** Reads an object of an S3 store in any order. Small reads, as of headers, are answered from blocks that were read whole. */

import { LRUCache } from 'lru-cache'
import type { Counters } from '../../../core/counters.ts'
import type { ArchiveBytes } from '../archive-bytes.ts'
import { RangeReader } from './range-reader.ts'
import type { S3Place } from './s3-url.ts'

/** Bytes of a block: a round trip takes longer than to bring so much. */
const BLOCK = 64 << 10

/** Blocks that are kept: 1 MiB. Larger reads go past them, to the caches of the callers. */
const BLOCKS = 16

/** A read up to this size is a small one. */
const SMALL = 16 << 10

interface S3BytesOptions {
  counters?: Counters
  signal?: AbortSignal
  warn?: (message: string) => void
}

export class S3Bytes implements ArchiveBytes {
  readonly size: number
  readonly #reader: RangeReader
  readonly #blocks = new LRUCache<number, Promise<Buffer>>({ max: BLOCKS })

  private constructor(reader: RangeReader) {
    this.#reader = reader
    this.size = reader.size
  }

  /** Opens the object. `signal` aborts the opening. Throws USAGE, FAILED. */
  static async open(place: S3Place, { counters, signal, warn }: S3BytesOptions = {}): Promise<S3Bytes> {
    const reader = await RangeReader.open(place, { signal, warn, count: (bytes) => counters?.add('read', bytes) })
    return new S3Bytes(reader)
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    if (buffer.byteLength > SMALL || offset + buffer.byteLength > this.size) return this.#reader.read(buffer, offset)
    for (let at = 0; at < buffer.byteLength; ) {
      const start = Math.floor((offset + at) / BLOCK) * BLOCK
      const block = await this.#block(start)
      const bytes = block.subarray(offset + at - start, offset + buffer.byteLength - start)
      buffer.set(bytes, at)
      at += bytes.byteLength
    }
  }

  async close(): Promise<void> {
    await this.#reader.close()
    this.#blocks.clear()
  }

  #block(start: number): Promise<Buffer> {
    const known = this.#blocks.get(start)
    if (known !== undefined) return known
    const block = Buffer.allocUnsafe(Math.min(BLOCK, this.size - start))
    const reading = this.#reader.read(block, start).then(() => block)
    this.#blocks.set(start, reading)
    // A failure is not kept: the next read tries again.
    reading.catch(() => this.#blocks.delete(start))
    return reading
  }
}
