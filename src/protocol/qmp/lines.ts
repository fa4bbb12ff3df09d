/** Splits the bytes of a socket into lines. Their length is bounded, as the peer decides it. */

import { VmapipeError } from '../../core/errors.ts'

/** The longest message that is taken: 16 MiB. The longest of QEMU, its schema, has about 0.3 MiB. */
export const MAX_LINE = 16 << 20

const NEWLINE = 0x0a

export class LineSplitter {
  readonly #limit: number
  #parts: Buffer[] = []
  #length = 0

  constructor(limit = MAX_LINE) {
    this.#limit = limit
  }

  /** The bytes of a line whose end has not come. */
  get pending(): number {
    return this.#length
  }

  /** Adds a chunk, and gives each line that is complete with it, without its end. Throws FAILED if a line is too long. */
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
