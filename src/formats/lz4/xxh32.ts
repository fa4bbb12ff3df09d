/**
 * Computes XXH32 (xxhash_spec.md, version 0.1.1), the checksum of LZ4 frames. It uses the compiled code of @node-rs/xxhash. The
 * fallback, if that cannot be loaded, is plain JavaScript, which is several times slower.
 */

import { native, requireCompiled } from '../../system/native.ts'

/** Computes the checksum of content that arrives in several buffers. */
export interface Xxh32 {
  update(bytes: Uint8Array): unknown
  digest(): number
}

interface Compiled {
  xxh32(bytes: Uint8Array): number
  Xxh32: new () => Xxh32
}

const compiled = native(() => requireCompiled('@node-rs/xxhash') as Compiled)

export function xxh32(bytes: Uint8Array): number {
  const code = compiled()
  if (code !== null) return code.xxh32(bytes)
  const plain = new PlainXxh32()
  plain.update(bytes)
  return plain.digest()
}

export function newXxh32(): Xxh32 {
  const code = compiled()
  return code === null ? new PlainXxh32() : new code.Xxh32()
}

const PRIME = [0, 0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1]
const STRIPE = 16

export class PlainXxh32 implements Xxh32 {
  /** Step 1 with the seed 0: four accumulators, one for each lane of a stripe. */
  #a = (PRIME[1] + PRIME[2]) | 0
  #b = PRIME[2] | 0
  #c = 0
  #d = -PRIME[1] | 0
  readonly #rest = Buffer.alloc(STRIPE)
  #restLength = 0
  #total = 0

  update(bytes: Uint8Array): this {
    const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#total += all.length
    let at = 0
    if (this.#restLength > 0) {
      at = all.copy(this.#rest, this.#restLength, 0, STRIPE - this.#restLength)
      this.#restLength += at
      if (this.#restLength < STRIPE) return this
      this.#stripes(this.#rest, 0, STRIPE)
      this.#restLength = 0
    }
    const end = all.length - ((all.length - at) % STRIPE)
    this.#stripes(all, at, end)
    this.#restLength = all.copy(this.#rest, 0, end)
    return this
  }

  /** Steps 4 to 6: adds up the accumulators, adds the rest of the input, and mixes all bits. */
  digest(): number {
    let sum = this.#total >= STRIPE ? this.#converged() : PRIME[5]
    sum = (sum + this.#total) | 0
    let at = 0
    for (; at + 4 <= this.#restLength; at += 4) {
      sum = (sum + Math.imul(this.#rest.readUInt32LE(at), PRIME[3])) | 0
      sum = Math.imul(rotate(sum, 17), PRIME[4])
    }
    for (; at < this.#restLength; at++) {
      sum = (sum + Math.imul(this.#rest[at], PRIME[5])) | 0
      sum = Math.imul(rotate(sum, 11), PRIME[1])
    }
    sum = Math.imul(sum ^ (sum >>> 15), PRIME[2])
    sum = Math.imul(sum ^ (sum >>> 13), PRIME[3])
    return (sum ^ (sum >>> 16)) >>> 0
  }

  #converged(): number {
    return rotate(this.#a, 1) + rotate(this.#b, 7) + rotate(this.#c, 12) + rotate(this.#d, 18)
  }

  /** Step 2: adds whole stripes. */
  #stripes(bytes: Buffer, from: number, to: number): void {
    let [a, b, c, d] = [this.#a, this.#b, this.#c, this.#d]
    for (let at = from; at < to; at += STRIPE) {
      a = round(a, bytes.readInt32LE(at))
      b = round(b, bytes.readInt32LE(at + 4))
      c = round(c, bytes.readInt32LE(at + 8))
      d = round(d, bytes.readInt32LE(at + 12))
    }
    this.#a = a
    this.#b = b
    this.#c = c
    this.#d = d
  }
}

function round(sum: number, lane: number): number {
  return Math.imul(rotate((sum + Math.imul(lane, PRIME[2])) | 0, 13), PRIME[1])
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
