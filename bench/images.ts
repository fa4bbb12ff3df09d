/**
 * Images to measure with, the same on every machine. The data is what disks hold, mixed by chunks of 64 KiB: text, records of
 * binary fields, and bytes that cannot be compressed. zstd -3 makes about two fifths of it.
 */

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'

const MiB = 1 << 20
const CHUNK = 64 << 10

/** The usual sizes of the mixed image. */
export const MIXED_IMAGE = 4 * 2 ** 30
export const QUICK_IMAGE = 256 * 2 ** 20

/** One period of the mixed image: half data, a quarter written zeroes, a quarter hole. */
const PERIOD = 64 * MiB

/** An image of `size` bytes, a multiple of 64 MiB: half data, a quarter zeroes that are written, a quarter holes. */
export function makeMixedImage(path: string, size: number): void {
  const content = new Content(1)
  const zeroes = Buffer.alloc(PERIOD / 4)
  writeImage(path, size, (write) => {
    for (let at = 0; at < size; at += PERIOD) {
      for (let done = 0; done < PERIOD / 2; done += zeroes.length) write(content.next(zeroes.length), at + done)
      write(zeroes, at + PERIOD / 2)
    }
  })
}

/** An image of `size` bytes with `data` bytes of data in 64 pieces, evenly spread; dense where both are the same. */
export function makeSparseImage(path: string, size: number, data: number): void {
  const content = new Content(2)
  const pieces = 64
  writeImage(path, size, (write) => {
    for (let piece = 0; piece < pieces; piece++) write(content.next(data / pieces), (size / pieces) * piece)
  })
}

/** An image of `size` bytes with `data` bytes of data, in clusters of 64 KiB that are spread evenly. */
export function makeSpreadImage(path: string, size: number, data: number): void {
  const content = new Content(3)
  const pieces = data / CHUNK
  const distance = Math.floor(size / pieces / CHUNK) * CHUNK
  writeImage(path, size, (write) => {
    for (let piece = 0; piece < pieces; piece++) write(content.next(CHUNK), distance * piece)
  })
}

function writeImage(path: string, size: number, fill: (write: (bytes: Buffer, at: number) => void) => void): void {
  const fd = openSync(path, 'wx')
  try {
    ftruncateSync(fd, size)
    fill((bytes, at) => {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
    })
  } finally {
    closeSync(fd)
  }
}

/** An endless stream of bytes; two of the same seed are the same. */
export class Content {
  readonly #random: () => number
  readonly #words: Buffer[]
  #record = 0

  constructor(seed: number) {
    this.#random = xorshift(seed)
    this.#words = Array.from({ length: 8192 }, () => this.#word())
  }

  /** The next `bytes` bytes, a multiple of 64 KiB. */
  next(bytes: number): Buffer {
    const target = Buffer.allocUnsafeSlow(bytes)
    for (let at = 0; at < bytes; at += CHUNK) {
      const chunk = target.subarray(at, at + CHUNK)
      const kind = this.#random() % 8
      if (kind < 4) this.#text(chunk)
      else if (kind < 6) this.#records(chunk)
      else this.#noise(chunk)
    }
    return target
  }

  #word(): Buffer {
    const letters = 'etaoinshrdlucmfwypvbgk'
    const length = 2 + (this.#random() % 9)
    const pick = () => letters[Math.min(this.#random() % letters.length, this.#random() % letters.length)]
    return Buffer.from(`${Array.from({ length }, pick).join('')} `)
  }

  /** Common words more often than rare ones. */
  #text(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const rank = this.#random() & 8191
      const word = this.#words[rank & (this.#random() & 8191)]
      for (let letter = 0; letter < word.length && at < chunk.length; letter++) chunk[at++] = word[letter]
    }
  }

  /** 32 bytes each: a counter, a time, a kind, small numbers, some noise. */
  #records(chunk: Buffer): void {
    const fields = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.length / 4)
    for (let at = 0; at < fields.length; at += 8) {
      const noise = this.#random()
      fields.set([0x7265_6331, ++this.#record, 1_700_000_000 + (this.#record >>> 3), noise & 7], at)
      fields.set([noise & 0xfff, 0, noise >>> 20, this.#random()], at + 4)
    }
  }

  #noise(chunk: Buffer): void {
    const words = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.length / 4)
    for (let at = 0; at < words.length; at++) words[at] = this.#random()
  }
}

/** Marsaglia's xorshift32: numbers below 2^32. */
export function xorshift(seed: number): () => number {
  let state = seed * 2654435761
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}
