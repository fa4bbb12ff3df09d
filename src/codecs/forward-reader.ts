/** Reads small parts of a file, each behind the one before. Parts that are near each other are read together. */

import { VmapipeError } from '../core/errors.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'

/** Bytes that are read at once if the last part was near (64 KiB). */
const STRETCH = 64 << 10

export class ForwardReader {
  readonly #bytes: ArchiveBytes
  readonly #buffer = Buffer.allocUnsafe(STRETCH)
  #start = 0
  #length = 0

  constructor(bytes: ArchiveBytes) {
    this.#bytes = bytes
  }

  /**
   * Reads `length` bytes, at most 64 KiB. The buffer is valid until the next call. Throws INCOMPLETE if the file ends before:
   * "the archive ends within `what`".
   */
  async read(offset: number, length: number, what: string): Promise<Buffer> {
    const end = this.#start + this.#length
    if (offset < this.#start || offset + length > end) {
      const near = this.#length > 0 && Math.abs(offset - end) < STRETCH / 4
      await this.#load(offset, near ? STRETCH : length)
    }
    const at = offset - this.#start
    if (at + length > this.#length)
      throw new VmapipeError('INCOMPLETE', `the archive ends within ${what}`, { offset: this.#bytes.size })
    return this.#buffer.subarray(at, at + length)
  }

  async #load(offset: number, length: number): Promise<void> {
    this.#start = offset
    this.#length = Math.max(0, Math.min(length, this.#bytes.size - offset))
    await this.#bytes.read(this.#buffer.subarray(0, this.#length), Math.min(offset, this.#bytes.size))
  }
}
