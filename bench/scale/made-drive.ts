/** A drive of any size in code: the same piece of data in even distances, all else holes. No disk has room for some of them. */

import type { DriveExtent, DriveReader } from '../../src/storage/drive.ts'

/** Bytes of data in one piece: four extents' worth, as files are in pieces. */
const PIECE = 16 * 2 ** 20

export class MadeDrive implements DriveReader {
  readonly size: number
  /** A piece begins at each multiple of this. */
  readonly #distance: number
  readonly #content: Uint8Array

  /** `content` has a piece, or less: then the pieces are as large. */
  constructor(size: number, data: number, content: Uint8Array) {
    this.size = size
    this.#content = content
    const pieces = Math.max(1, Math.round(data / content.length))
    this.#distance = Math.floor(size / pieces / 65536) * 65536
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const into = at % this.#distance
      const zero = into >= this.#content.length
      const next = at - into + (zero ? this.#distance : this.#content.length)
      const stop = Math.min(next, end)
      yield { offset: at, length: stop - at, zero }
      at = stop
    }
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < buffer.length; ) {
      const into = (offset + done) % this.#distance
      const isData = into < this.#content.length
      const length = Math.min(buffer.length - done, (isData ? this.#content.length : this.#distance) - into)
      if (isData) buffer.set(this.#content.subarray(into, into + length), done)
      else buffer.fill(0, done, done + length)
      done += length
    }
  }

  async close(): Promise<void> {}
}

/** Data that nobody finds zeroes or repeats in. */
export function madeContent(bytes = PIECE): Buffer {
  const content = Buffer.allocUnsafeSlow(bytes)
  let state = 12345
  for (let at = 0; at < bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    content.writeInt32LE(state | 1, at)
  }
  return content
}
