/**
 * A request for an archive, and the archive that comes for it. It is whole when the service says so at its end; whatever
 * else ends it is an error.
 */

import { Bell } from '../../core/bell.ts'
import type { Budget, Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import type { Parser } from '../../protocol/feeder.ts'
import { pieceBytes } from '../../storage/archive/endpoint.ts'
import { type Head, parseChunks, type Room } from './chunked.ts'
import { Exchange, type Refusal } from './exchange.ts'
import { COMPLETE, OUTCOME } from './outcome.ts'

/** What is read at once, at most. */
const LARGEST_PIECE = 1 << 20

export class ArchiveResponse {
  readonly #exchange: Exchange
  #slab: Slab | null = null
  #used = 0
  readonly #bell = new Bell()

  private constructor(path: string, target: string, text: string, signal: AbortSignal | undefined) {
    this.#exchange = new Exchange({
      path,
      target,
      text,
      signal,
      status: 200,
      body: (headers) => this.#body(headers),
      ended: () => this.#bell.ring(),
    })
  }

  /** Resolves when an archive begins, or with what was answered instead. `text` is the body of the request, JSON. */
  static async request(
    path: string,
    target: string,
    text: string,
    signal?: AbortSignal,
  ): Promise<ArchiveResponse | Refusal> {
    const response = new ArchiveResponse(path, target, text, signal)
    return (await response.#exchange.answer) ?? response
  }

  /** The next bytes, in memory that `budget` lends; null when all have come and the service has said so. */
  async read(budget: Budget): Promise<Chunk | null> {
    if (this.#exchange.isWhole) return null
    const slab = await budget.take(pieceBytes(budget, LARGEST_PIECE))
    await this.#fill(slab)
    const { failure } = this.#exchange
    if (failure !== null || this.#used === 0) slab.release()
    if (failure !== null) throw failure
    return this.#used === 0 ? null : new Chunk([slab.buffer.subarray(0, this.#used)], [slab])
  }

  close(): void {
    this.#exchange.end(new VmapipeError('ABORTED', 'closed'))
  }

  /** Resolves when the slab is full, or nothing more comes. */
  async #fill(slab: Slab): Promise<void> {
    this.#used = 0
    if (!this.#exchange.isOpen) return
    this.#slab = slab
    const enough = this.#bell.next()
    this.#exchange.wake()
    await enough
    this.#slab = null
  }

  *#body(headers: Head['headers']): Parser {
    if (headers.get('transfer-encoding')?.toLowerCase() !== 'chunked')
      throw new VmapipeError('FAILED', 'the answer is not that of a service: nothing would tell where the archive ends')
    const trailers = yield* parseChunks(this.#room())
    if (trailers.get(OUTCOME.toLowerCase()) !== COMPLETE)
      throw new VmapipeError('INCOMPLETE', 'the service did not say that the archive is whole')
    this.#exchange.whole()
  }

  #room(): Room {
    return {
      next: (most) => this.#slab?.buffer.subarray(this.#used, this.#used + most) ?? null,
      filled: (bytes) => {
        this.#used += bytes
        if (this.#used < this.#slab!.bytes) return
        this.#slab = null
        this.#bell.ring()
      },
    }
  }
}
