/** Seals and opens chunks of a payload that follow each other. */

import { SEALED } from '../../formats/age/payload.ts'
import type { ChunkCipher } from './chunk-cipher.ts'

/** Chunks that follow each other, at every SEALED bytes of `memory` from its beginning. */
export interface PayloadJob {
  id: number
  memory: ArrayBuffer
  /** The byte of `memory` to begin at, where a chunk begins. */
  from: number
  /** Bytes of all sealed chunks, from the beginning of `memory`. */
  sealedBytes: number
  /** The number of the chunk at the beginning of `memory`. */
  first: number
  /** Whether the last of these chunks is the payload's last. */
  isLast: boolean
}

export interface PayloadResult {
  id: number
  memory: ArrayBuffer
  /** The number of the chunk that could not be opened, or -1. */
  failed: number
  /** Whether that chunk would be authentic if the payload ended before, or went on behind, this chunk. */
  isElsewhere: boolean
}

/** Seals, or opens, chunks in place. Ends at the first that cannot be opened. */
export function work(
  cipher: ChunkCipher,
  { key, seal }: { key: Uint8Array; seal: boolean },
  { memory, from, sealedBytes, first, isLast }: PayloadJob,
): Pick<PayloadResult, 'failed' | 'isElsewhere'> {
  for (let at = from, index = first + from / SEALED; at < sealedBytes; at += SEALED, index++) {
    const end = Math.min(at + SEALED, sealedBytes)
    const bytes = Buffer.from(memory, at, end - at)
    const last = isLast && end === sealedBytes
    if (seal) cipher.seal(key, index, last, bytes)
    else if (!cipher.open(key, index, last, bytes)) {
      return { failed: index, isElsewhere: cipher.open(key, index, !last, bytes) }
    }
  }
  return { failed: -1, isElsewhere: false }
}
