/**
 * Threads that hash clusters beside the event loop. They read the memory in place, by its address, so nothing is copied for them.
 *
 * A thread takes some 50 ms of processor time to begin, so none begins before there was much to hash. If one cannot begin, or ends, or
 * gives a wrong answer to a first question, its clusters are hashed in the event loop, and so are all others from then on.
 */

import { Worker } from 'node:worker_threads'
import type { Lease } from '../../core/lease.ts'
import type { ClusterHasher } from '../../formats/vma/cluster-hash.ts'
import { type Addresses, addresses } from '../../system/addresses.ts'
import type { HashJob, HashResult } from './hash-worker.ts'

/** This file, or its compiled form, beside this one. */
const FILE = new URL(`./hash-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)

/** Threads that hash at once: two hash 8 GB/s, more than the event loop can pass on. */
const MOST_WORKERS = 2

/** Jobs that a thread has at once: it must find the next one when it is done with one. If all have so many, another thread begins. */
const BUSY = 2

/** What a thread is asked first, to see whether it reads the memory that is meant. */
const QUESTION = Buffer.from(Uint8Array.from({ length: 4096 }, (_, at) => at * 7))
const QUESTION_MASKS = [1]

/** Clusters to hash, as for `ClusterHasher.hashes`. `leases` are what keeps the blocks: they are held until the answer. */
export interface Clusters {
  masks: ArrayLike<number>
  blocks: readonly Uint8Array[]
  leases: readonly Lease[]
}

interface Asked extends Clusters {
  answer: (hashes: Uint8Array) => void
}

export class HashWorkers {
  readonly #hasher: ClusterHasher
  readonly #addresses: Addresses | null
  readonly #limit: number
  readonly #file: URL
  readonly #threads: HashThread[] = []
  #starting: HashThread | null = null
  #isBroken = false

  /** `hasher` is for what a thread that ends leaves undone. At most `limit` threads begin, which run `file`. */
  constructor(hasher: ClusterHasher, { limit = MOST_WORKERS, file = FILE } = {}) {
    this.#hasher = hasher
    this.#addresses = addresses()
    this.#limit = limit
    this.#file = file
  }

  /** Whether there is a thread that hashes. */
  get isReady(): boolean {
    return this.#threads.length > 0
  }

  /** Hashes the clusters in the thread that has least to do. Never rejects. Only if a thread is ready. */
  hashes(clusters: Clusters): Promise<Uint8Array> {
    const thread = this.#threads.reduce((least, other) => (other.jobs < least.jobs ? other : least))
    if (thread.jobs >= BUSY) this.begin()
    for (const lease of clusters.leases) lease.retain()
    return new Promise((answer) => thread.ask({ ...clusters, answer }))
  }

  /** Lets another thread begin, which is ready later, unless there are enough. */
  begin(): void {
    if (this.#isBroken || this.#addresses === null) return
    if (this.#starting !== null || this.#threads.length >= this.#limit) return
    const thread = new HashThread(this.#hasher, this.#addresses, (isSound) => {
      this.#starting = null
      this.#isBroken ||= !isSound
      const at = this.#threads.indexOf(thread)
      if (isSound) this.#threads.push(thread)
      else if (at >= 0) this.#threads.splice(at, 1)
    })
    this.#starting = thread
    thread.begin(this.#file)
  }
}

class HashThread {
  readonly #hasher: ClusterHasher
  readonly #addresses: Addresses
  readonly #onTurn: (isSound: boolean) => void
  readonly #asked = new Map<number, Asked>()
  #worker: Worker | null = null
  #next = 0
  #hasEnded = false

  /** `onTurn` is called when the thread is ready, and when it has ended. */
  constructor(hasher: ClusterHasher, addresses: Addresses, onTurn: (isSound: boolean) => void) {
    this.#hasher = hasher
    this.#addresses = addresses
    this.#onTurn = onTurn
  }

  /** Jobs under way. */
  get jobs(): number {
    return this.#asked.size
  }

  begin(file: URL): void {
    try {
      this.#worker = new Worker(file)
    } catch {
      this.#end()
      return
    }
    this.#worker.on('message', (result: HashResult) => this.#answer(result))
    this.#worker.on('error', () => this.#end())
    this.#worker.on('exit', () => this.#end())
    const right = this.#hasher.hashes(QUESTION_MASKS, [QUESTION])
    const answer = (hashes: Uint8Array) => {
      if (!this.#hasEnded && Buffer.compare(hashes, right) === 0) this.#onTurn(true)
      else this.#end()
    }
    this.ask({ masks: QUESTION_MASKS, blocks: [QUESTION], leases: [], answer })
    // A thread that begins must not keep the process from ending.
    this.#worker.unref()
  }

  ask(asked: Asked): void {
    const id = this.#next++
    this.#asked.set(id, asked)
    this.#worker!.ref()
    const views = asked.blocks.map(({ buffer, byteOffset: from, byteLength: length }) => {
      return { ...this.#addresses.placeOf(buffer), from, length }
    })
    this.#worker!.postMessage({ id, masks: asked.masks, views } satisfies HashJob)
  }

  #answer({ id, hashes }: HashResult): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return
    this.#asked.delete(id)
    // An idle thread must not keep the process from ending.
    if (this.#asked.size === 0) this.#worker!.unref()
    for (const lease of asked.leases) lease.release()
    asked.answer(hashes)
  }

  /** The thread has ended: what it was asked is hashed here. */
  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#onTurn(false)
    void this.#worker?.terminate()
    for (const [id, { masks, blocks }] of this.#asked) this.#answer({ id, hashes: this.#hasher.hashes(masks, blocks) })
  }
}
