/**
 * Buffers for the payload of requests, kept for the next one of about the same size: fresh memory costs a page fault
 * every 4 KiB. All connections of a server share them.
 */

import { discard } from '../../../core/memory.ts'
import { HEADROOM } from './reply.ts'

const SMALLEST = 4096
/** Bytes that may lie here unused, where there is room for them. */
const MAX_KEPT = 8 * 2 ** 20

export class PayloadBuffers {
  readonly #most: number
  readonly #kept = new Map<number, Buffer[]>()
  #bytes = 0
  #lent = 0

  /** What lies here unused makes room for what is taken, where together they would be more than `most` bytes. */
  constructor(most: number) {
    this.#most = most
  }

  /** HEADROOM and at least `bytes` bytes. What was in it before is still there. */
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

/** What a buffer for so many bytes takes: powers of two, and the headroom. */
export function roomFor(bytes: number): number {
  return HEADROOM + (bytes <= SMALLEST ? SMALLEST : 2 ** (32 - Math.clz32(bytes - 1)))
}
