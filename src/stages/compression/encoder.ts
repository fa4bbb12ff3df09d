/** What turns a piece of the archive into one independent frame. */

import { type Budget, discard } from '../../core/budget.ts'
import { Chunk } from '../../core/items.ts'

export interface FrameEncoder {
  /** The most memory that a frame of `bytes` bytes takes, in bytes. */
  bound(bytes: number): number
  /** One frame, in `bound` bytes of `outputs`. `bytes` stays as it is until the promise settles. */
  encode(bytes: Buffer, outputs: Budget, bound: number): Promise<Chunk>
}

/** A chunk of pieces that a codec allocates itself, at most `bound` bytes; their memory is freed when it is released. */
export async function chargedChunk(
  outputs: Budget,
  bound: number,
  encode: () => Promise<Uint8Array[]>,
): Promise<Chunk> {
  let pieces: Uint8Array[] = []
  const lease = await outputs.charge(bound, () => pieces.forEach(discard))
  try {
    pieces = await encode()
  } catch (error) {
    lease.release()
    throw error
  }
  return new Chunk(pieces, [lease])
}
