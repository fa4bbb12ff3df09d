/** Decides how much memory decoded content takes: little more than its own length. */

import type { Budget, Lease } from '../core/budget.ts'
import { roundUp } from '../core/geometry.ts'
import { Chunk, totalLength } from '../core/items.ts'

/**
 * The memory to take for this much content, at most `most`. It is rounded up by at most a sixteenth, so that buffers can be reused for
 * other frames. It is not more, because an incomplete extent holds the memory of all frames that it is in, however small they are.
 */
export function roomFor(content: number, most: number): number {
  const step = Math.max(1, 2 ** (Math.floor(Math.log2(content)) - 4))
  return Math.max(1, Math.min(most, roundUp(content, step)))
}

/**
 * Makes a chunk of `content`, whose memory is `lease` alone. If the lease is much larger than the content, the content is copied to
 * smaller memory. An incomplete extent holds all frames that it is in, and it would wait forever if they held the memory that the
 * next frame needs.
 */
export function fitted(outputs: Budget, content: Buffer, lease: Lease): Chunk {
  const room = roomFor(content.length, lease.bytes)
  return lease.bytes <= room + (room >>> 3) ? new Chunk([content], [lease]) : moved(outputs, [content], [lease])
}

/** Makes a chunk of a copy of `content`, in memory that replaces `leases`. The leases must have no other holder. */
export function moved(outputs: Budget, content: readonly Uint8Array[], leases: readonly Lease[]): Chunk {
  // Computed first, because the content may be gone with its leases.
  const length = totalLength(content)
  const most = leases.reduce((sum, { bytes }) => sum + bytes, 0)
  const slab = outputs.exchange(leases, roomFor(length, most), (buffer) => {
    let filled = 0
    for (const bytes of content) {
      buffer.set(bytes, filled)
      filled += bytes.length
    }
  })
  return new Chunk([slab.buffer.subarray(0, length)], [slab])
}

/** Options of Node's zlib for content of `bytes` bytes: one buffer with a byte more, so that zlib does not allocate a second one. */
export function wholeContent(bytes: number) {
  return { chunkSize: Math.max(64, bytes + 1), maxOutputLength: Math.max(1, bytes) }
}
