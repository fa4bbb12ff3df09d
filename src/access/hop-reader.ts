/** Small pieces of a file, each further on than the one before: read one by one, or many at once where they are near. */

import { VmapipeError } from '../core/errors.ts'
import type { ArchiveBytes } from './archive-bytes.ts'

/** Read at once where the last piece was not far. */
const STRETCH = 64 << 10

export class HopReader {
  readonly #bytes: ArchiveBytes
  readonly #buffer = Buffer.allocUnsafe(STRETCH)
  #start = 0
  #length = 0

  constructor(bytes: ArchiveBytes) {
    this.#bytes = bytes
  }

  /** Good until the next call; `length` is at most 64 KiB. Throws INCOMPLETE where the file ends before: "the archive ends within `what`". */
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
