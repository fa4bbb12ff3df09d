/**
 * Keeps buffers for the payload of requests for the next request of about the same size, because fresh memory costs a page fault
 * every 4 KiB. All connections of a server share them.
 */

import { discard } from '../../../core/memory.ts'
import { HEADROOM } from './reply.ts'

const SMALLEST = 4096
/** The most bytes that are kept unused. */
const MAX_KEPT = 8 * 2 ** 20

export class PayloadBuffers {
  readonly #most: number
  readonly #kept = new Map<number, Buffer[]>()
  #bytes = 0
  #lent = 0

  /** Drops unused buffers if these and the taken ones would be more than `most` bytes together. */
  constructor(most: number) {
    this.#most = most
  }

  /** Takes a buffer with HEADROOM and at least `bytes` bytes, with its old content. */
  take(bytes: number): Buffer {
    const size = roomFor(bytes)
    this.#lent += size
    const buffer = this.#kept.get(size)?.pop()
    if (buffer === undefined) {
      this.#makeRoom()
      return Buffer.allocUnsafeSlow(size)
    }
    this.#bytes -= size
    return buffer
  }

  give(buffer: Buffer): void {
    const size = buffer.length
    this.#lent -= size
    if (this.#bytes + size > MAX_KEPT || this.#lent + this.#bytes + size > this.#most) {
      discard(buffer)
      return
    }
    this.#bytes += size
    const others = this.#kept.get(size)
    if (others === undefined) this.#kept.set(size, [buffer])
    else others.push(buffer)
  }

  #makeRoom(): void {
    for (const [size, buffers] of this.#kept) {
      while (this.#lent + this.#bytes > this.#most && buffers.length > 0) {
        discard(buffers.pop()!)
        this.#bytes -= size
      }
    }
  }
}

/** The size of a buffer for so many bytes: a power of two, and the headroom. */
export function roomFor(bytes: number): number {
  return HEADROOM + (bytes <= SMALLEST ? SMALLEST : 2 ** (32 - Math.clz32(bytes - 1)))
}
