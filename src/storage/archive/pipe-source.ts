/** Reads an archive from a pipe, or from a stream of the caller. Small pieces are gathered into large ones. */

import type { Readable } from 'node:stream'
import { Bell } from '../../core/bell.ts'
import type { Budget, Slab } from '../../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import type { Feed } from '../../system/pipe-fd.ts'
import { type ArchiveSource, pieceBytes, type SourceOptions } from './endpoint.ts'

const LARGEST_PIECE = 1 << 20

const nothing: Uint8Array = new Uint8Array(0)

export class PipeSource implements ArchiveSource {
  readonly size = undefined
  readonly #connect: (feed: Feed) => Promise<Readable>
  readonly #name: string
  readonly #budget: Budget
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.#end(new VmapipeError('ABORTED', 'aborted'))
  #stream: Readable | null = null
  #slab: Slab | null = null
  #filled = 0
  /**
   * Bytes that came when there was no room. The stream is paused then, so these bytes do not change. More may come nevertheless,
   * because Node resumes the standard output of a process that has ended.
   */
  #rest = nothing
  #state: 'flowing' | 'ended' | Error = 'flowing'
  /** Rings when the slab is full or the stream has ended. */
  readonly #bell = new Bell()

  constructor(connect: (feed: Feed) => Promise<Readable>, name: string, { budget, signal }: SourceOptions) {
    this.#connect = connect
    this.#name = name
    this.#budget = budget
    this.#signal = signal
  }

  async open(): Promise<void> {
    const stream = await this.#connect((bytes) => this.#feed(bytes))
    this.#stream = stream
    stream.once('end', () => this.#end('ended'))
    stream.on('error', (error) => this.#end(asVmapipeError(error, { file: this.#name })))
    stream.once('close', () => this.#end(new VmapipeError('FAILED', `${this.#name} was closed before its end`)))
    if (stream.readableEnded) this.#end('ended')
    else if (stream.destroyed) this.#end(new VmapipeError('FAILED', `${this.#name} was closed before its end`))
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (this.#signal?.aborted) this.#onAbort()
  }

  async read(): Promise<Chunk | null> {
    if (this.#state === 'ended' && this.#rest.byteLength === 0) return null
    const slab = await this.#budget.take(pieceBytes(this.#budget, LARGEST_PIECE))
    const bytes = await this.#fill(slab).catch((error) => {
      slab.release()
      throw error
    })
    if (bytes > 0) return new Chunk([slab.buffer.subarray(0, bytes)], [slab])
    slab.release()
    return null
  }

  async close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#end(new VmapipeError('ABORTED', 'closed'))
    this.#stream?.destroy()
  }

  /** Waits until the slab is full or the stream has ended. Resolves with the number of bytes. */
  async #fill(slab: Slab): Promise<number> {
    const enough = this.#bell.next()
    this.#slab = slab
    this.#filled = 0
    const rest = this.#rest
    this.#rest = nothing
    if (this.#feed(rest) && this.#state === 'flowing') {
      this.#stream!.resume()
      await enough
    }
    this.#slab = null
    if (this.#state instanceof Error) throw this.#state
    return this.#filled
  }

  #feed(bytes: Uint8Array): boolean {
    const taken = this.#slab === null ? 0 : Math.min(bytes.byteLength, this.#slab.buffer.byteLength - this.#filled)
    if (this.#slab !== null) {
      this.#slab.buffer.set(taken === bytes.byteLength ? bytes : bytes.subarray(0, taken), this.#filled)
      this.#filled += taken
      if (this.#filled < this.#slab.buffer.byteLength) return true
      this.#bell.ring()
    }
    if (taken < bytes.byteLength) this.#keep(bytes.subarray(taken))
    return false
  }

  #keep(bytes: Uint8Array): void {
    this.#rest = this.#rest.byteLength === 0 ? bytes : Buffer.concat([this.#rest, bytes])
  }

  #end(state: 'ended' | Error): void {
    if (this.#state === 'flowing') this.#state = state
    this.#bell.ring()
  }
}
