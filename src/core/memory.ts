/**
 * The memory behind a budget. Freed buffers are kept for the next lease of the same size, because fresh memory costs a page fault
 * every 4 KiB. With an arena, memory comes from the arena as long as it has room.
 */

import type { Arena } from './arena.ts'

/** Frees the memory of a buffer at once instead of at some later garbage collection. The buffer must not be used any more. */
export function discard(buffer: Uint8Array): void {
  const { buffer: memory } = buffer
  // A small Buffer is a part of Node's pool, which other Buffers share.
  const isPooled = memory.byteLength === Buffer.poolSize && buffer.byteLength < memory.byteLength
  if (memory instanceof ArrayBuffer && !isPooled) memory.transfer(0)
}

/** A buffer with its old content, and how to give it back. */
interface Piece {
  buffer: Buffer
  giveBack: () => void
}

export class Memory {
  readonly #arena: Arena | undefined
  #pooled = 0
  readonly #pool = new Map<number, Buffer[]>()
  #isClosed = false

  constructor(arena: Arena | undefined) {
    this.#arena = arena
  }

  /** The memory for a part of the budget. */
  carve(bytes: number): Memory {
    return new Memory(this.#arena?.carve(bytes))
  }

  /** A buffer of exactly `bytes` bytes. Drops kept buffers of other sizes if these would be more than `spare` bytes. */
  take(bytes: number, spare: number): Piece {
    if (this.#arena !== undefined) return this.#lend(this.#arena, bytes)
    const buffer = this.#reuse(bytes, spare) ?? Buffer.allocUnsafeSlow(bytes)
    return { buffer, giveBack: () => this.#keep(buffer) }
  }

  /** Frees what is kept. Buffers that are out are freed by garbage collection. */
  close(): void {
    this.#isClosed = true
    for (const buffers of this.#pool.values()) for (const buffer of buffers) discard(buffer)
    this.#pool.clear()
    this.#pooled = 0
  }

  /** Gives the arena of a part back. The arena of a whole budget belongs to the caller. */
  closeArena(): void {
    this.#arena?.close()
  }

  /** Lends from the arena. If the arena has no piece of that size, it allocates memory and frees it as soon as it is given back. */
  #lend(arena: Arena, bytes: number): Piece {
    const part = arena.take(bytes)
    if (part !== null) return { buffer: part, giveBack: () => arena.giveBack(part) }
    const buffer = Buffer.allocUnsafeSlow(bytes)
    return { buffer, giveBack: () => discard(buffer) }
  }

  #reuse(bytes: number, spare: number): Buffer | undefined {
    const buffer = this.#pool.get(bytes)?.pop()
    if (buffer !== undefined) {
      this.#pooled -= bytes
      return buffer
    }
    for (const [size, buffers] of this.#pool) {
      while (this.#pooled > spare && buffers.length > 0) {
        discard(buffers.pop()!)
        this.#pooled -= size
      }
    }
    return undefined
  }

  #keep(buffer: Buffer): void {
    if (this.#isClosed) return
    const size = buffer.byteLength
    const buffers = this.#pool.get(size)
    if (buffers === undefined) this.#pool.set(size, [buffer])
    else buffers.push(buffer)
    this.#pooled += size
  }
}
