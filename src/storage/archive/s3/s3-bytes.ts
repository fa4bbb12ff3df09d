/** Reads an archive in an S3 store in any order. Small reads, as of headers, are answered from blocks that were read whole. */

import { LRUCache } from 'lru-cache'
import type { ArchiveBytes } from '../archive-bytes.ts'

/** Bytes of a block: a round trip takes longer than to bring so much. */
const BLOCK = 64 << 10

/** Blocks that are kept: 1 MiB. Larger reads go past them, to the caches of the callers. */
const BLOCKS = 16

/** A read up to this size is a small one. */
const SMALL = 16 << 10

export class S3Bytes implements ArchiveBytes {
  readonly size: number
  readonly #reader: ArchiveBytes
  readonly #blocks = new LRUCache<number, Promise<Buffer>>({ max: BLOCKS })

  /** `reader` makes a request for each read. */
  constructor(reader: ArchiveBytes) {
    this.#reader = reader
    this.size = reader.size
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
