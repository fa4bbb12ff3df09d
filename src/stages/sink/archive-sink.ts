/**
 * The body of a stage that writes the bytes of an archive to a target. It takes the next chunks while the last ones are written, so that
 * storage and processor never wait for each other. Chunks that wait are written together.
 *
 * It waits for nothing but the target: it takes no memory, so what it holds always comes back.
 */

import { Bell } from '../../core/bell.ts'
import { asVmapipeError, type VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import type { SinkBody, StageContext } from '../../core/stage.ts'
import type { ArchiveTarget } from '../../storage/archive/endpoint.ts'

/** Bytes that may wait for a write to begin (1 MiB, as between two stages). A larger chunk may wait alone. */
const MOST_WAITING = 1 << 20

/** The most buffers that wait: as many as one system call takes. */
const MOST_BUFFERS = 1024

export class ArchiveSink implements SinkBody<Chunk> {
  readonly #target: ArchiveTarget
  readonly #context: StageContext
  readonly #waiting: Chunk[] = []
  #waitingBytes = 0
  #waitingBuffers = 0
  /** The writes under way, the earliest first. None of them rejects. */
  readonly #writes: Promise<void>[] = []
  /** Rings when a write has ended. */
  readonly #bell = new Bell()
  #failure: VmapipeError | null = null
  #isClosed = false

  constructor(target: ArchiveTarget, context: StageContext) {
    this.#target = target
    this.#context = context
  }

  open(): Promise<void> {
    return this.#target.open()
  }

  /** Returns a promise only if chunks must wait: for the target, or for the chunks before them. */
  write(chunk: Chunk): void | Promise<void> {
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.byteLength
    this.#waitingBuffers += chunk.buffers.length
    this.#begin()
    if (this.#failure !== null || !this.#hasRoom) return this.#room()
  }

  async settle(): Promise<void> {
    await this.#drain()
    await this.#target.settle?.()
  }

  async final(): Promise<void> {
    await this.#drain()
    await this.#target.finish()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const chunk of this.#takeWaiting()) chunk.release()
    // It ends the writes to another program, which might never end by themselves.
    await this.#target.abort()
    await Promise.all(this.#writes)
  }

  get #hasRoom(): boolean {
    return this.#waitingBytes < MOST_WAITING && this.#waitingBuffers < MOST_BUFFERS
  }

  async #room(): Promise<void> {
    while (this.#failure === null && !this.#hasRoom) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure
  }

  async #drain(): Promise<void> {
    while (this.#failure === null && this.#writes.length > 0) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure
  }

  #takeWaiting(): Chunk[] {
    this.#waitingBytes = 0
    this.#waitingBuffers = 0
    return this.#waiting.splice(0)
  }

  /** Begins to write what waits, if the target takes one more write. */
  #begin(): void {
    if (this.#isClosed || this.#failure !== null || this.#waiting.length === 0) return
    if (this.#writes.length >= (this.#target.depth ?? 1)) return
    const write = this.#context.underWay(this.#write(this.#takeWaiting(), [...this.#writes]))
    this.#writes.push(write)
    void write.then(() => {
      this.#writes.splice(this.#writes.indexOf(write), 1)
      this.#begin()
      this.#bell.ring()
    })
  }

  async #write(chunks: Chunk[], earlier: Promise<void>[]): Promise<void> {
    let failure: unknown = null
    try {
      await this.#target.write(chunks.length === 1 ? chunks[0].buffers : chunks.flatMap(({ buffers }) => buffers))
      for (const { byteLength } of chunks) this.#context.counters.add('written', byteLength)
    } catch (error) {
      failure = asVmapipeError(error)
    } finally {
      for (const chunk of chunks) chunk.release()
    }
    if (failure === null) return
    // If an earlier write fails too, its place is the one to tell.
    await Promise.all(earlier)
    this.#failure ??= asVmapipeError(failure)
    this.#context.fail(this.#failure)
  }
}
