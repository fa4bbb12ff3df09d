/** Seals and opens chunks of a payload in a thread of its own. See payload-workers.ts. */

import { parentPort, workerData } from 'node:worker_threads'
import { openChunk, SEALED, sealChunk } from '../../formats/age/payload.ts'

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

const { key, seal } = workerData as { key: Uint8Array; seal: boolean }

parentPort!.on('message', (job: PayloadJob) => {
  const result = { id: job.id, memory: job.memory, ...work(job) }
  parentPort!.postMessage(result satisfies PayloadResult, [job.memory])
})

function work({ memory, from, sealedBytes, first, isLast }: PayloadJob): Pick<PayloadResult, 'failed' | 'isElsewhere'> {
  for (let at = from, index = first + from / SEALED; at < sealedBytes; at += SEALED, index++) {
    const end = Math.min(at + SEALED, sealedBytes)
    const bytes = Buffer.from(memory, at, end - at)
    const last = isLast && end === sealedBytes
    if (seal) sealChunk(key, index, last, bytes)
    else if (!openChunk(key, index, last, bytes)) {
      return { failed: index, isElsewhere: openChunk(key, index, !last, bytes) }
    }
  }
  return { failed: -1, isElsewhere: false }
}
