/** Bytes of a socket as lines. A line's length is the peer's word, so it has a bound. */

import { VmapipeError } from '../../core/errors.ts'

/** The longest message that is taken, in bytes; QEMU's own longest, its schema, has about 0.3 MiB. */
export const MAX_LINE = 16 << 20

const NEWLINE = 0x0a

export class LineSplitter {
  readonly #limit: number
  #parts: Buffer[] = []
  #length = 0

  constructor(limit = MAX_LINE) {
    this.#limit = limit
  }

  /** Bytes of a line whose end has not come yet. */
  get pending(): number {
    return this.#length
  }

  /** Keeps the chunk; gives each line that it completes, without its end. Throws FAILED where a line grows too long. */
  *push(chunk: Buffer): Generator<string> {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#add(chunk.subarray(start, end))
      start = end + 1
      yield this.#take()
    }
    if (start < chunk.length) this.#add(chunk.subarray(start))
  }

  #add(part: Buffer): void {
    this.#length += part.length
    if (this.#length > this.#limit) {
      throw new VmapipeError(
        'FAILED',
        `a message of more than ${this.#limit} bytes was sent, which is too long to be one`,
      )
    }
    this.#parts.push(part)
  }

  #take(): string {
    const line = Buffer.concat(this.#parts, this.#length).toString()
    this.#parts = []
    this.#length = 0
    return line.endsWith('\r') ? line.slice(0, -1) : line
  }
}
