/** Hashes clusters in a thread of its own, in the memory of the thread that asks. See hash-workers.ts. */

import { parentPort } from 'node:worker_threads'
import { clusterHasher } from '../../formats/vma/cluster-hash.ts'
import { addresses, type MemoryPlace } from '../../system/addresses.ts'

/** A part of a piece of memory. */
export interface PlacedView extends MemoryPlace {
  /** Of the view, within the memory. */
  from: number
  length: number
}

/** Clusters to hash: as for `ClusterHasher.hashes`. */
export interface HashJob {
  id: number
  masks: ArrayLike<number>
  views: readonly PlacedView[]
}

export interface HashResult {
  id: number
  hashes: Uint8Array
}

const port = parentPort!
const memory = addresses()!
const hasher = await clusterHasher()

port.on('message', ({ id, masks, views }: HashJob) => {
  const blocks = views.map(({ from, length, ...place }) => memory.memoryAt(place).subarray(from, from + length))
  port.postMessage({ id, hashes: hasher.hashes(masks, blocks) } satisfies HashResult)
})
