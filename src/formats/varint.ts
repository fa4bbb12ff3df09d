/** Encodes and decodes LEB128 numbers: seven bits a byte, lowest first, the high bit set in all bytes but the last; at most 2^53 - 1. */

import { VmapipeError } from '../core/errors.ts'

const LARGEST_BYTES = 8

/** A buffer that grows as numbers are added. */
export class VarintWriter {
  #bytes = Buffer.alloc(1024)
  #length = 0

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  add(...values: number[]): void {
    if (this.#length + values.length * LARGEST_BYTES > this.#bytes.length) this.#grow(values.length * LARGEST_BYTES)
    for (let value of values) {
      for (; value >= 128; value = Math.floor(value / 128)) this.#bytes[this.#length++] = (value % 128) | 128
      this.#bytes[this.#length++] = value
    }
  }

  addSigned(value: number): void {
    this.add(value < 0 ? -2 * value - 1 : 2 * value)
  }

  clear(): void {
    this.#length = 0
  }

  #grow(by: number): void {
    if (this.#length + by <= this.#bytes.length) return
    // A large one has megabytes: twice of them would be wasted memory.
    const factor = this.#bytes.length < 1 << 20 ? 2 : 1.25
    const larger = Buffer.alloc(Math.max(Math.ceil(this.#bytes.length * factor), this.#length + by))
    larger.set(this.bytes)
    this.#bytes = larger
  }
}

/** Reads numbers. Throws DAMAGED if the bytes are no number. */
export class VarintReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** The number of bytes that were read. */
  get position(): number {
    return this.#at
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  next(): number {
    // Most numbers have one byte.
    const first = this.#bytes[this.#at]
    if (first < 128) {
      this.#at++
      return first
    }
    let value = 0
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      if (this.isAtEnd) break
      const byte = this.#bytes[this.#at++]
      value += (byte & 127) * scale
      if (byte < 128 && value <= Number.MAX_SAFE_INTEGER) return value
    }
    throw new VmapipeError('DAMAGED', 'a table of the archive has bytes that are not a number', {
      offset: this.#at,
    })
  }

  /** Passes over bytes that are the same as those from `start` to here, again and again, but at most `most` times. Returns how often. */
  passRepeats(start: number, most: number): number {
    const bytes = this.#bytes
    const length = this.#at - start
    const end = Math.min(bytes.length, this.#at + length * most)
    let at = this.#at
    while (at < end && bytes[at] === bytes[at - length]) at++
    const times = Math.floor((at - this.#at) / length)
    this.#at += times * length
    return times
  }

  nextSigned(): number {
    const value = this.next()
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2
  }
}
