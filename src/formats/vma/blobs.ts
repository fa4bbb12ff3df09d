/**
 * Encodes and decodes the blob buffer of a VMA header (vma_spec.txt, "VMA Header", blob buffer). Byte 0 is unused, so that offset 0
 * can mean "none". Each blob is a little-endian 16-bit length and the bytes. The length of a text includes its trailing NUL.
 */

import { bytesOf, textOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { roundUp } from '../../core/geometry.ts'

export class BlobWriter {
  readonly #parts: Uint8Array[] = [Buffer.alloc(1)]
  #length = 1
  #allocated = 0

  /**
   * The size that the real tool would have given the buffer. If a blob does not fit, the tool adds the size of the blob, rounded
   * up to 512. The header's size follows from this.
   */
  get allocated(): number {
    return Math.max(this.#allocated, 512)
  }

  /** Adds a blob of at most 65535 bytes and returns its offset. */
  add(data: Uint8Array): number {
    const offset = this.#length
    const length = Buffer.alloc(2)
    length.writeUInt16LE(data.byteLength)
    this.#parts.push(length, data)
    this.#length += 2 + data.byteLength
    if (this.#length > this.#allocated) this.#allocated += roundUp(2 + data.byteLength, 512)
    return offset
  }

  addText(text: string): number {
    const bytes = bytesOf(`${text}\0`)
    if (bytes.length > 65535)
      throw new VmapipeError('USAGE', `a name of ${bytes.length} bytes does not fit into a header`)
    return this.add(bytes)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

export class BlobReader {
  readonly #buffer: Buffer
  readonly #at: number

  /** `at` is the place of the buffer in the archive, for errors. */
  constructor(buffer: Buffer, at: number) {
    this.#buffer = buffer
    this.#at = at
  }

  /** A copy of the blob at `offset`. */
  blob(offset: number): Buffer {
    const { length } = this.#buffer
    const size = offset + 2 <= length ? this.#buffer.readUInt16LE(offset) : 0
    if (offset + 2 + size > length) {
      throw new VmapipeError('DAMAGED', 'a blob is outside the blob buffer', { offset: this.#at + offset })
    }
    return Buffer.from(this.#buffer.subarray(offset + 2, offset + 2 + size))
  }

  /** The text at `offset`, up to its first NUL, as the real tool reads it. */
  text(offset: number): string {
    const bytes = this.blob(offset)
    if (bytes.at(-1) !== 0) {
      throw new VmapipeError('DAMAGED', 'a name does not end with NUL', { offset: this.#at + offset })
    }
    return textOf(bytes.subarray(0, bytes.indexOf(0)))
  }
}
