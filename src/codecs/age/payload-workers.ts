/**
 * Seals or opens chunks of a payload: by libcrypto at once, which takes a third of a millisecond for 1 MiB, or else by Node's own cipher
 * beside the event loop. Memory goes to a worker and comes back: nothing is copied for it.
 */

import { Worker } from 'node:worker_threads'
import { VmapipeError } from '../../core/errors.ts'
import { byLibcrypto, type ChunkCipher } from './chunk-cipher.ts'
import { type PayloadJob, type PayloadResult, work } from './payload-job.ts'

/** This file, or its compiled form, beside this one. */
const FILE = new URL(`./payload-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)

/** A thread keeps little, but each chunk leaves 64 KiB behind: with a small heap they are collected before there are many. */
const LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 }

interface Waiting {
  resolve: (result: PayloadResult) => void
  reject: (error: Error) => void
}

interface PayloadOptions {
  /** Whether to seal chunks, or open them. */
  seal: boolean
  limit: number
  cipher?: ChunkCipher | null
}

export class PayloadWorkers {
  readonly #key: Uint8Array
  readonly #seal: boolean
  readonly #limit: number
  readonly #cipher: ChunkCipher | null
  readonly #workers: Worker[] = []
  readonly #waiting = new Map<number, Waiting>()
  #next = 0
  #closed: Error | null = null

  /** At most `limit` threads, which begin when there is work for them; none with a `cipher`, which works in the calling thread. */
  constructor(key: Uint8Array, { seal, limit, cipher = byLibcrypto() }: PayloadOptions) {
    this.#cipher = cipher
    this.#key = key
    this.#seal = seal
    this.#limit = limit
  }

  /** Works on the chunks in `memory`, which is in `memory` of the result afterwards and is gone here until then. */
  run(job: Omit<PayloadJob, 'id'>): Promise<PayloadResult> {
    if (this.#closed !== null) return Promise.reject(this.#closed)
    const id = this.#next++
    if (this.#cipher !== null) {
      const done = work(this.#cipher, { key: this.#key, seal: this.#seal }, { id, ...job })
      return Promise.resolve({ id, memory: job.memory, ...done })
    }
    const worker = this.#workers[id % this.#limit] ?? this.#begin()
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.ref()
      worker.postMessage({ id, ...job } satisfies PayloadJob, [job.memory])
    })
  }

  async close(): Promise<void> {
    this.#fail(new VmapipeError('ABORTED', 'the encryption was ended'))
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()))
  }

  #begin(): Worker {
    const worker = new Worker(FILE, { workerData: { key: this.#key, seal: this.#seal }, resourceLimits: LIMITS })
    worker.on('message', (result: PayloadResult) => {
      this.#waiting.get(result.id)?.resolve(result)
      this.#waiting.delete(result.id)
      // An idle worker must not keep the process from ending.
      if (this.#waiting.size === 0) for (const idle of this.#workers) idle.unref()
    })
    worker.on('error', (error) => this.#fail(error))
    this.#workers.push(worker)
    return worker
  }

  #fail(error: Error): void {
    this.#closed ??= error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
