/** Hashes clusters where it costs least: few at once in the event loop, many beside it. */

import { worksBeside } from '../../core/beside.ts'
import { totalLength } from '../../core/items.ts'
import { type ClusterHasher, clusterHasher, compiledHasher } from '../../formats/vma/cluster-hash.ts'
import { type Clusters, HashWorkers } from './hash-workers.ts'

/** Bytes that are worth a message to another thread, which takes as long as hashing 128 KiB. */
const WORTH_ASKING = 256 << 10

/** Bytes to hash before a thread begins: they take as long as the thread does to begin. */
const WORTH_BEGINNING = 128 << 20

/** The threads of the process, which end with it. */
let shared: HashWorkers | undefined

export class ClusterHashing {
  /** Hashes in the event loop. */
  readonly hasher: ClusterHasher
  readonly #workers: HashWorkers | null
  /** Bytes to hash until a thread is worth it. */
  #left: number

  constructor(hasher: ClusterHasher, workers: HashWorkers | null, left = WORTH_BEGINNING) {
    this.hasher = hasher
    this.#workers = workers
    this.#left = left
  }

  /** Whether many clusters are hashed beside the event loop by now. */
  get isBeside(): boolean {
    if (this.#workers === null) return false
    if (this.#workers.isReady) return true
    if (this.#left <= 0) this.#workers.begin()
    return false
  }

  /** The hashes of clusters, as by `ClusterHasher.hashes`, at once or later. */
  hashes(clusters: Clusters): Uint8Array | Promise<Uint8Array> {
    const { masks, blocks } = clusters
    const bytes = totalLength(blocks)
    if (bytes >= WORTH_ASKING && this.isBeside) return this.#workers!.hashes(clusters)
    this.#left -= bytes
    return this.hasher.hashes(masks, blocks)
  }
}

/** By compiled code, or else by WebAssembly, and beside the event loop if so many tasks at once, `threads`, are enough for that. */
export async function clusterHashing(threads: number): Promise<ClusterHashing> {
  return hashingBy(await clusterHasher(), threads)
}

/** By compiled code; null if that cannot be loaded. */
export function compiledHashing(threads: number): ClusterHashing | null {
  const hasher = compiledHasher()
  return hasher && hashingBy(hasher, threads)
}

function hashingBy(hasher: ClusterHasher, threads: number): ClusterHashing {
  if (!worksBeside(threads)) return new ClusterHashing(hasher, null)
  shared ??= new HashWorkers(hasher)
  return new ClusterHashing(hasher, shared)
}
