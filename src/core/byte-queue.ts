/**
 * Takes in bytes as chunks of any size and gives them out in parts of any size, as views. Only `peek` copies.
 * The leases of the chunks travel with the views that are taken.
 */

import type { Lease } from './budget.ts'
import type { Chunk } from './items.ts'

const NOTHING = Buffer.alloc(0)
/** Used-up parts that may stand before the first part in use. More of them are cut off at once. */
const MOST_GONE = 4096

interface Part {
  buffer: Buffer
  leases: readonly Lease[]
}

/** Views of the bytes taken; each lease is held once for them. */
export interface Taken {
  buffers: Buffer[]
  leases: Lease[]
}

export class ByteQueue {
  /** The parts from `#head` on are in use. `#head` moves because removing the first part would move all others. */
  #parts: Part[] = []
  #head = 0
  #length = 0
  #position = 0

  /** Bytes that can be taken. */
  get length(): number {
    return this.#length
  }

  /** Bytes taken so far, which is the place in the stream where the queue begins. */
  get position(): number {
    return this.#position
  }

  /** Appends the chunk, which belongs to the queue from now on. */
  push(chunk: Chunk): void {
    const buffers = chunk.buffers.filter(({ byteLength }) => byteLength > 0)
    const { leases } = chunk
    // Each part holds the leases on its own.
    for (const lease of leases) lease.retain(buffers.length)
    for (const bytes of buffers) this.#parts.push({ buffer: asBuffer(bytes), leases })
    this.#length += chunk.byteLength
    chunk.release()
  }

  /** Puts the bytes that were taken last back in front. `bytes` is the caller's own copy of them. */
  unshift(bytes: Buffer): void {
    const part = { buffer: bytes, leases: [] }
    if (bytes.length > 0 && this.#head > 0) this.#parts[--this.#head] = part
    else if (bytes.length > 0) this.#parts.unshift(part)
    this.#length += bytes.length
    this.#position -= bytes.length
  }

  /** Copies the next `bytes` bytes, or those behind `from`. They stay in the queue, and must be there. */
  peek(bytes: number, from = 0): Buffer {
    const copy = Buffer.allocUnsafe(bytes)
    let filled = 0
    for (let at = this.#head, before = from; filled < bytes; at++) {
      const { buffer } = this.#parts[at]
      if (before < buffer.length) filled += buffer.copy(copy, filled, before, before + bytes - filled)
      before = Math.max(0, before - buffer.length)
    }
    return copy
  }

  /** Views of `bytes` bytes behind the next `from`, which stay in the queue, and the leases of their memory. They must be there. */
  lookAt(from: number, bytes: number): Taken {
    const buffers: Buffer[] = []
    const leases = new Set<Lease>()
    for (let at = this.#head, before = from, left = bytes; left > 0; at++) {
      const part = this.#parts[at]
      const view = part.buffer.subarray(before, before + left)
      before = Math.max(0, before - part.buffer.length)
      if (view.length === 0) continue
      buffers.push(view)
      for (const lease of part.leases) leases.add(lease)
      left -= view.length
    }
    return { buffers, leases: [...leases] }
  }

  /** Views of the next `bytes` bytes, which stay in the queue. They must be there. */
  look(bytes: number): Buffer[] {
    const views: Buffer[] = []
    for (let at = this.#head, left = bytes; left > 0; at++) {
      const view = this.#parts[at].buffer.subarray(0, left)
      views.push(view)
      left -= view.length
    }
    return views
  }

  /**
   * The number of bytes before the first `needle`, or -1 if there is none. Only bytes `from` to `to` are searched. The needle
   * may be spread over several chunks.
   */
  indexOf(needle: Buffer, from = 0, to = this.#length): number {
    const overlap = needle.length - 1
    let before = 0
    let tail: Buffer = NOTHING
    for (let at = this.#head; at < this.#parts.length && before < to; at++) {
      const { buffer: whole } = this.#parts[at]
      if (before + whole.length <= from) {
        before += whole.length
        continue
      }
      const buffer = whole.subarray(Math.max(0, from - before), to - before)
      before = Math.max(before, from)
      const seam = Buffer.concat([tail, buffer.subarray(0, overlap)])
      const across = seam.indexOf(needle)
      if (across >= 0) return before - tail.length + across
      const within = buffer.indexOf(needle)
      if (within >= 0) return before + within
      before += buffer.length
      const end = buffer.length >= overlap ? buffer : seam
      tail = Buffer.from(end.subarray(Math.max(0, end.length - overlap)))
    }
    return -1
  }

  /** Removes the next `bytes` bytes and returns views of them. They must be there. */
  take(bytes: number): Taken {
    const buffers: Buffer[] = []
    const leases = new Set<Lease>()
    this.#consume(bytes, ({ buffer, leases: held }, length) => {
      buffers.push(length === buffer.length ? buffer : buffer.subarray(0, length))
      for (const lease of held) if (!leases.has(lease)) leases.add(lease.retain())
    })
    return { buffers, leases: [...leases] }
  }

  /** A view of the first contiguous bytes, at most `limit`. They stay in the queue, which must not be empty. */
  front(limit: number): Taken {
    const { buffer, leases } = this.#parts[this.#head]
    for (const lease of leases) lease.retain()
    return { buffers: [buffer.subarray(0, limit)], leases: [...leases] }
  }

  skip(bytes: number): void {
    this.#consume(bytes, () => {})
  }

  /** Drops all bytes that were not taken and releases their leases. */
  clear(): void {
    this.skip(this.#length)
  }

  #consume(bytes: number, see: (part: Part, length: number) => void): void {
    let left = bytes
    while (left > 0) {
      const part = this.#parts[this.#head]
      const length = Math.min(left, part.buffer.length)
      see(part, length)
      left -= length
      if (length === part.buffer.length) {
        this.#drop()
        for (const lease of part.leases) lease.release()
      } else {
        part.buffer = part.buffer.subarray(length)
      }
    }
    this.#length -= bytes
    this.#position += bytes
  }

  #drop(): void {
    this.#parts[this.#head++] = GONE
    if (this.#head < this.#parts.length && this.#head < MOST_GONE) return
    this.#parts = this.#parts.slice(this.#head)
    this.#head = 0
  }
}

const GONE: Part = { buffer: NOTHING, leases: [] }

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
