/**
 * A zstd frame that is decoded from its beginning only as far as somebody has wanted bytes of it, and further when they want more. Its
 * compressed bytes are read step by step, into memory of the same piece, so that going on never waits for memory. Nothing checks these
 * bytes: the frame's own checksum is at its end. A reader checks what it takes, and falls back to the whole frame at any error.
 */

import type { Context, Libzstd } from '../codecs/zstd/libzstd.ts'
import type { Lease, Slab } from '../core/budget.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import type { Place } from './frame-table.ts'
import type { View } from './piece-cache.ts'

/** The least number of compressed bytes to decode at a time: a switch to another thread takes as long as some KiB. */
const LEAST_STEP = 16 << 10

export class BegunFrame implements View {
  /** The content, of which the first `done` bytes are there. */
  readonly bytes: Buffer
  readonly lease: Lease
  /** Places in the content where a cluster begins that was checked. */
  readonly checked = new Set<number>()
  readonly #file: ArchiveBytes
  readonly #place: Place
  readonly #input: Buffer
  readonly #zstd: Libzstd
  #context: Context | null
  #read = 0
  #done = 0
  #work: Promise<void> = Promise.resolve()

  /** `memory` has room for the content, and behind it for the whole compressed frame. */
  constructor(file: ArchiveBytes, place: Place, zstd: Libzstd, memory: Slab) {
    const { contentBytes, bytes } = place
    this.lease = memory
    this.bytes = memory.buffer.subarray(0, contentBytes)
    this.#input = memory.buffer.subarray(contentBytes, contentBytes + bytes)
    this.#file = file
    this.#place = place
    this.#zstd = zstd
    this.#context = zstd.streamDecoder()
  }

  /** Decodes until at least `end` bytes of the content are there, which must be fewer than all. The caller holds the lease. */
  upTo(end: number): Promise<void> | undefined {
    if (end <= this.#done) return undefined
    const work = this.#work.then(() => this.#decode(end))
    this.#work = work
    work.catch(() => {})
    return work
  }

  /** Frees the decoder when it does nothing any more. */
  dropped(): void {
    const free = () => {
      if (this.#context !== null) this.#zstd.endStream(this.#context)
      this.#context = null
    }
    this.#work = this.#work.then(free, free)
  }

  async #decode(end: number): Promise<void> {
    const { start, bytes, contentBytes } = this.#place
    while (this.#done < end) {
      if (this.#context === null || this.#read === bytes) throw new Error('the frame is not decoded any more')
      const expected = Math.ceil(((end - this.#done) * bytes) / contentBytes)
      const step = Math.min(Math.max(LEAST_STEP, expected), bytes - this.#read)
      const input = this.#input.subarray(this.#read, this.#read + step)
      await this.#file.read(input, start + this.#read)
      this.#read += step
      this.#done = await this.#zstd.decodeMoreInPool(this.#context, this.bytes, this.#done, input)
    }
  }
}
