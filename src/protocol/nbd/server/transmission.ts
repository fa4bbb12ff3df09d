/**
 * The transmission phase of one connection: reads requests, has the disk do them, many at a time, and answers in
 * whatever order they are done. A request occupies the client's window from before its payload is read until the kernel
 * has taken its reply.
 */

import * as nbd from '../constants.ts'
import type { Parser } from '../feeder.ts'
import { type PayloadBuffers, roomFor } from './buffers.ts'
import { errnoOf } from './errno.ts'
import type { Done, ServedDisk } from './export.ts'
import type { Agreement } from './negotiation.ts'
import type { Outbox } from './outbox.ts'
import { drain } from './parsing.ts'
import { emptyChunk, errorChunk, HEADROOM, readReply, simpleReply, statusChunk } from './reply.ts'
import { decodeRequest, errorOf, payloadOf, type Request } from './request.ts'
import type { ServerStats } from './stats.ts'
import { describeRange } from './status.ts'
import type { Window } from './window.ts'

export interface TransmissionContext {
  agreement: Agreement
  outbox: Outbox
  window: Window
  buffers: PayloadBuffers
  stats: ServerStats
  /** Called when a request has left the window. */
  left(): void
  onDiskError(failure: DiskFailure): void
}

/** A request that a disk could not do. */
export interface DiskFailure {
  exportName: string
  /** READ, WRITE, ... */
  command: string
  offset: number
  length: number
  error: unknown
}

export class Transmission {
  readonly #context: TransmissionContext
  readonly #agreement: Agreement
  readonly #disk: ServedDisk
  #running = 0

  constructor(context: TransmissionContext) {
    this.#context = context
    this.#agreement = context.agreement
    this.#disk = context.agreement.entry.disk
  }

  /** Requests that the disk is busy with. */
  get running(): number {
    return this.#running
  }

  /** Ends when the client says so. */
  *run(): Parser {
    for (;;) {
      const request = decodeRequest(yield nbd.REQUEST_BYTES)
      if (request.type === nbd.CMD_DISC) return
      const errno = errorOf(request, this.#agreement)
      const payload = errno === 0 ? payloadOf(request) : 0
      const room = payload > 0 ? roomFor(payload) : 0
      while (!this.#context.window.admits(room)) yield null
      this.#context.window.enter(room)
      if (errno !== 0) {
        if (request.type === nbd.CMD_WRITE) yield* drain(request.length)
        this.#refuse(request, errno, room)
        continue
      }
      this.#context.stats.count(request.type, payload)
      const buffer = room > 0 ? this.#context.buffers.take(room - HEADROOM) : null
      const bytes = buffer?.subarray(HEADROOM, HEADROOM + payload)
      if (request.type === nbd.CMD_WRITE && bytes) yield bytes
      this.#do(request, buffer, bytes)
    }
  }

  #do(request: Request, buffer: Buffer | null, bytes: Buffer | undefined): void {
    this.#running++
    this.#context.stats.inFlight++
    try {
      const failed = (error: unknown) => this.#fail(request, buffer, error)
      if (request.type === nbd.CMD_BLOCK_STATUS) {
        this.#status(request).then((reply) => this.#succeed(request, null, reply), failed)
        return
      }
      const done = this.#ask(request, bytes)
      if (done === undefined) this.#succeed(request, buffer)
      else done.then(() => this.#succeed(request, buffer), failed)
    } catch (error) {
      this.#fail(request, buffer, error)
    }
  }

  #ask({ type, flags, offset, length }: Request, bytes: Buffer | undefined): Done {
    const fua = (flags & nbd.CMD_FLAG_FUA) !== 0
    switch (type) {
      case nbd.CMD_READ:
        return bytes ? this.#disk.read(bytes, offset) : undefined
      case nbd.CMD_WRITE:
        return bytes ? this.#disk.write([bytes], offset, { fua }) : undefined
      case nbd.CMD_FLUSH:
        return this.#disk.flush()
      case nbd.CMD_TRIM:
        return this.#disk.trim(offset, length, { fua })
      case nbd.CMD_CACHE:
        return this.#disk.prefetch!(offset, length)
      default: {
        const noHole = (flags & nbd.CMD_FLAG_NO_HOLE) !== 0
        return this.#disk.zero(offset, length, { fua, noHole, fast: (flags & nbd.CMD_FLAG_FAST_ZERO) !== 0 })
      }
    }
  }

  async #status(request: Request): Promise<Buffer> {
    const one = (request.flags & nbd.CMD_FLAG_REQ_ONE) !== 0
    return statusChunk(request, await describeRange(this.#disk, request.offset, request.length, one))
  }

  #succeed(request: Request, buffer: Buffer | null, reply?: Buffer): void {
    this.#ended()
    const room = buffer?.length ?? 0
    if (request.type === nbd.CMD_READ && buffer) {
      const answer = readReply(request, buffer, this.#agreement.structured)
      this.#context.outbox.push(answer, () => this.#leave(room, buffer))
      return
    }
    if (buffer) this.#context.buffers.give(buffer)
    this.#context.outbox.push(reply ?? this.#emptyReply(request), () => this.#leave(room))
  }

  /** Of a READ too, where it was for no bytes. */
  #emptyReply(request: Request): Buffer {
    const chunks = this.#agreement.structured && request.type === nbd.CMD_READ
    return chunks ? emptyChunk(request) : simpleReply(request, 0)
  }

  #fail(request: Request, buffer: Buffer | null, error: unknown): void {
    this.#ended()
    if (buffer) this.#context.buffers.give(buffer)
    const errno = errnoOf(error)
    this.#refuse(request, errno, buffer?.length ?? 0)
    // What was asked for on the condition that it is fast is no failure.
    if (errno === nbd.ENOTSUP && request.type === nbd.CMD_WRITE_ZEROES) return
    const { type, offset, length } = request
    const exportName = this.#agreement.entry.name
    this.#context.onDiskError({ exportName, command: nbd.COMMANDS[type], offset, length, error })
  }

  #refuse(request: Request, errno: number, room: number): void {
    this.#context.stats.errors++
    const reply = this.#agreement.structured ? errorChunk(request, errno) : simpleReply(request, errno)
    this.#context.outbox.push(reply, () => this.#leave(room))
  }

  #ended(): void {
    this.#running--
    this.#context.stats.inFlight--
  }

  #leave(room: number, buffer?: Buffer): void {
    if (buffer) this.#context.buffers.give(buffer)
    this.#context.window.leave(room)
    this.#context.left()
  }
}
