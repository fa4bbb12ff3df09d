/**
 * A request for an archive, and the archive that comes for it. It is whole when the service says so at its end; whatever
 * else ends it is an error.
 */

import { connect, type Socket } from 'node:net'
import type { Budget, Slab } from '../../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { Feeder, type Parser } from '../../protocol/nbd/feeder.ts'
import { pieceBytes } from '../../storage/archive/piece.ts'
import { type Head, parseChunks, parseHead, parseText, type Room } from './chunked.ts'
import { COMPLETE, OUTCOME } from './outcome.ts'

/** What is read at once, at most. */
const LARGEST_PIECE = 1 << 20
/** The largest answer that is no archive. */
const MAX_ANSWER = 1 << 20

/** An answer that is no archive. */
export interface Refusal {
  status: number
  text: string
}

export class ArchiveResponse {
  readonly #path: string
  readonly #socket: Socket
  readonly #feeder: Feeder
  readonly #signal: AbortSignal | undefined
  readonly #abort = () => this.#end(aborted(this.#signal!))
  #answered: { resolve: (refusal: Refusal | null) => void; reject: (error: unknown) => void } | null = null
  #slab: Slab | null = null
  #used = 0
  #state: 'open' | 'whole' | VmapipeError = 'open'
  #wake: () => void = () => {}

  private constructor(path: string, signal: AbortSignal | undefined) {
    this.#path = path
    this.#signal = signal
    this.#feeder = new Feeder(this.#session())
    const onread = { buffer: () => this.#feeder.target(), callback: (count: number) => this.#received(count) }
    this.#socket = connect({ path, onread })
    this.#socket.on('error', (error) => this.#end(connectionError(path, error)))
    this.#socket.once('close', () => this.#end(this.#cut()))
    signal?.addEventListener('abort', this.#abort, { once: true })
  }

  /** Resolves when an archive begins, or with what was answered instead. `text` is the body of the request, JSON. */
  static async request(
    path: string,
    target: string,
    text: string,
    signal?: AbortSignal,
  ): Promise<ArchiveResponse | Refusal> {
    if (signal?.aborted) throw aborted(signal)
    const response = new ArchiveResponse(path, signal)
    const refusal = await new Promise<Refusal | null>((resolve, reject) => {
      response.#answered = { resolve, reject }
      const body = Buffer.from(text)
      const lines = [
        'Host: control',
        'Connection: close',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
      ]
      response.#socket.write(`POST ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
      response.#socket.write(body)
    })
    return refusal ?? response
  }

  /** The next bytes, in memory that `budget` lends; null when all have come and the service has said so. */
  async read(budget: Budget): Promise<Chunk | null> {
    if (this.#state === 'whole') return null
    const slab = await budget.take(pieceBytes(budget, LARGEST_PIECE))
    await this.#fill(slab)
    if (this.#state instanceof VmapipeError || this.#used === 0) slab.release()
    if (this.#state instanceof VmapipeError) throw this.#state
    return this.#used === 0 ? null : new Chunk([slab.buffer.subarray(0, this.#used)], [slab])
  }

  close(): void {
    this.#end(new VmapipeError('ABORTED', 'closed'))
  }

  /** Resolves when the slab is full, or nothing more comes. */
  async #fill(slab: Slab): Promise<void> {
    this.#used = 0
    if (this.#state !== 'open') return
    this.#slab = slab
    const enough = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#guard(() => this.#feeder.wake())
    if (!this.#feeder.isWaiting) this.#socket.resume()
    await enough
    this.#slab = null
  }

  *#session(): Parser {
    const { status, headers } = yield* parseHead()
    if (status !== 200) {
      this.#answered?.resolve({ status, text: yield* parseText(lengthOf(headers)) })
      return this.#finish()
    }
    if (headers.get('transfer-encoding')?.toLowerCase() !== 'chunked')
      throw new VmapipeError('FAILED', 'the answer is not that of a service: nothing would tell where the archive ends')
    this.#answered?.resolve(null)
    const trailers = yield* parseChunks(this.#room())
    if (trailers.get(OUTCOME.toLowerCase()) !== COMPLETE)
      throw new VmapipeError('INCOMPLETE', 'the service did not say that the archive is whole')
    this.#finish()
  }

  #room(): Room {
    return {
      next: (most) => this.#slab?.buffer.subarray(this.#used, this.#used + most) ?? null,
      filled: (bytes) => {
        this.#used += bytes
        if (this.#used < this.#slab!.bytes) return
        this.#slab = null
        this.#wake()
      },
    }
  }

  /** False stops the reading. */
  #received(count: number): boolean {
    this.#guard(() => this.#feeder.received(count))
    return this.#state === 'open' && !this.#feeder.isWaiting
  }

  #guard(work: () => void): void {
    try {
      if (this.#state === 'open') work()
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.file ??= this.#path
      this.#end(failure)
    }
  }

  #finish(): void {
    if (this.#state !== 'open') return
    this.#state = 'whole'
    this.#release()
  }

  /** The first one counts. */
  #end(error: VmapipeError): void {
    if (this.#state !== 'open') return
    this.#state = error
    this.#release()
    this.#answered?.reject(error)
  }

  #release(): void {
    this.#signal?.removeEventListener('abort', this.#abort)
    // First the socket, which holds the slab; then its owner may have it back.
    this.#socket.destroy()
    this.#wake()
  }

  #cut(): VmapipeError {
    return new VmapipeError('FAILED', 'the service broke off before the archive was whole', { file: this.#path })
  }
}

/** What went wrong with the socket at `path`. */
export function connectionError(path: string, error: NodeJS.ErrnoException): VmapipeError {
  const nobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
  const hint = nobody ? 'is `vmapipe serve --control` running there?' : undefined
  return asVmapipeError(error, { file: path, hint })
}

function aborted({ reason }: AbortSignal): VmapipeError {
  return reason instanceof VmapipeError ? reason : new VmapipeError('ABORTED', 'aborted', { cause: reason })
}

/** Of an answer that is no archive. */
function lengthOf(headers: Head['headers']): number {
  const length = Number(headers.get('content-length') ?? 0)
  return Number.isSafeInteger(length) && length >= 0 && length <= MAX_ANSWER ? length : 0
}
