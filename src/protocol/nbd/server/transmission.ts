/**
 * The transmission phase of one connection. Reads requests, lets the disk do many of them at a time, and answers each as soon as it
 * is done. A request takes space in the client's window from before its payload is read until the kernel has taken its reply. Long
 * payload goes in pieces, which bounds the memory of all clients together.
 */

import type { Parser } from '../../feeder.ts'
import * as nbd from '../constants.ts'
import { Backlog } from './backlog.ts'
import { type PayloadBuffers, roomFor } from './buffers.ts'
import { type Done, describeRange, type ServedDisk } from './export.ts'
import { LongRequest } from './long-request.ts'
import type { Agreement } from './negotiation.ts'
import type { Outbox } from './outbox.ts'
import { drain } from './parsing.ts'
import { emptyChunk, errnoOf, errorChunk, HEADROOM, readReply, simpleReply, statusChunk } from './reply.ts'
import { decodeRequest, errorOf, payloadOf, type Request } from './request.ts'
import type { ServerStats } from './stats.ts'
import { PIECE_BYTES, type Window } from './window.ts'

interface TransmissionContext {
  agreement: Agreement
  outbox: Outbox
  windows: Windows
  buffers: PayloadBuffers
  stats: ServerStats
  /** Called when a request has left the window. */
  left(): void
  /** Called when reading stops until the window admits one more request. */
  refused(window: Window): void
  onDiskError(failure: DiskFailure): void
}

/** Two windows, so that reads have space however many writes a backup holds. */
export interface Windows {
  /** For requests that change the disk, which a backup may hold. */
  changes: Window
  /** For all others. */
  others: Window
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
  readonly #backlog = new Backlog()
  #running = 0

  constructor(context: TransmissionContext) {
    this.#context = context
    this.#agreement = context.agreement
    this.#disk = context.agreement.entry.disk
  }

  /** The number of requests, or pieces of them, that the disk is busy with. */
  get running(): number {
    return this.#running
  }

  /** Runs until the client disconnects in order. */
  *run(): Parser {
    for (;;) {
      const request = decodeRequest(yield nbd.REQUEST_BYTES)
      if (request.type === nbd.CMD_DISC) return
      const errno = errorOf(request, this.#agreement)
      const payload = errno === 0 ? payloadOf(request) : 0
      this.#backlog.passed(nbd.REQUEST_BYTES, request.type === nbd.CMD_WRITE ? request.length : 0)
      if (errno !== 0) {
        yield* this.#enter(request, 0)
        if (request.type === nbd.CMD_WRITE) yield* drain(request.length)
        this.#refuse(request, errno, 0)
        continue
      }
      if (payload > PIECE_BYTES && this.#mayBeCut(request)) yield* this.#runPieces(request)
      else yield* this.#runPiece(request, payload, null)
    }
  }

  /** Notes that the socket is empty: what comes from now on has not waited there. */
  caughtUp(): void {
    this.#backlog.end()
  }

  /** Whether the payload may go in pieces. A reply without chunks, or with the flag DF, must be one piece. */
  #mayBeCut({ type, flags }: Request): boolean {
    return type === nbd.CMD_WRITE || (this.#agreement.structured && (flags & nbd.CMD_FLAG_DF) === 0)
  }

  /** Does a request in pieces, which end at multiples of their size on the disk. If one waited, those behind it have waited as long. */
  *#runPieces(request: Request): Parser {
    const { type, offset: first, length: payload } = request
    const whole = new LongRequest(request, type === nbd.CMD_WRITE ? this.#disk.beginWrite?.(first, payload) : undefined)
    const end = first + payload
    let since: number | undefined
    let offset = first
    try {
      while (offset < end) {
        const length = Math.min(PIECE_BYTES - (offset % PIECE_BYTES), end - offset)
        since = yield* this.#runPiece({ ...request, offset, length }, length, whole, since)
        offset += length
      }
    } finally {
      if (offset < end) whole.cut()
    }
  }

  /** Returns since when the request has been waiting, as `#enter` does; `before` if it has waited before this piece. */
  *#runPiece(
    request: Request,
    payload: number,
    whole: LongRequest | null,
    before?: number,
  ): Parser<number | undefined> {
    const room = payload > 0 ? roomFor(payload) : 0
    const waited = yield* this.#enter(request, room)
    const since = before ?? waited
    if (whole === null) this.#context.stats.count(request.type, payload)
    else if (whole.request.offset === request.offset) this.#context.stats.count(request.type, whole.request.length)
    if (room === 0) {
      this.#do(request, null, undefined, whole, since)
      return since
    }
    const buffer = this.#context.buffers.take(room - HEADROOM)
    const bytes = buffer.subarray(HEADROOM, HEADROOM + payload)
    if (request.type === nbd.CMD_WRITE) {
      let isWhole = false
      try {
        yield bytes
        isWhole = true
      } finally {
        // The client went away in the middle of the payload. Its window is closed.
        if (!isWhole) this.#context.buffers.give(buffer)
      }
    }
    this.#do(request, buffer, bytes, whole, since)
    return since
  }

  /**
   * Waits until the window admits the request. Returns since when the request has been waiting in the socket; undefined if it
   * has not. While the disk holds requests for a backup, that time counts as caused by the backup.
   */
  *#enter(request: Request, room: number): Parser<number | undefined> {
    const { windows } = this.#context
    const window = isChange(request.type) ? windows.changes : windows.others
    if (!window.admits(room) && !window.admits(room, this.#disk.isHolding)) yield* this.#wait(window, room)
    window.enter(room)
    return this.#backlog.since
  }

  *#wait(window: Window, room: number): Parser {
    this.#backlog.begin()
    let goesOn: (() => void) | undefined
    try {
      do {
        goesOn ??= this.#disk.queued?.(this.#backlog.since)
        this.#context.refused(window)
        yield null
      } while (!window.admits(room) && !window.admits(room, this.#disk.isHolding))
    } finally {
      goesOn?.()
    }
  }

  #do(
    request: Request,
    buffer: Buffer | null,
    bytes: Buffer | undefined,
    whole: LongRequest | null,
    since: number | undefined,
  ): void {
    this.#running++
    this.#context.stats.inFlight++
    whole?.begin()
    const began = request.type === nbd.CMD_WRITE ? beginning(whole, since) : 0
    const succeeded = () => {
      this.#succeed(request, buffer, whole)
      if (request.type === nbd.CMD_WRITE && (whole?.isDone ?? true))
        this.#context.stats.timeWrite(performance.now() - began)
    }
    try {
      const failed = (error: unknown) => this.#fail(request, buffer, error, whole)
      if (request.type === nbd.CMD_BLOCK_STATUS) {
        this.#status(request).then((reply) => this.#succeed(request, null, null, reply), failed)
        return
      }
      const done = this.#ask(request, bytes, whole, since)
      if (done === undefined) succeeded()
      else done.then(succeeded, failed)
    } catch (error) {
      this.#fail(request, buffer, error, whole)
    }
  }

  #ask(
    { type, flags, offset, length }: Request,
    bytes: Buffer | undefined,
    whole: LongRequest | null,
    since: number | undefined,
  ): Done {
    const fua = (flags & nbd.CMD_FLAG_FUA) !== 0
    switch (type) {
      case nbd.CMD_READ:
        return bytes ? this.#disk.read(bytes, offset) : undefined
      case nbd.CMD_WRITE:
        return bytes ? (whole?.write ?? this.#disk).write([bytes], offset, { fua, since }) : undefined
      case nbd.CMD_FLUSH:
        return this.#disk.flush()
      case nbd.CMD_TRIM:
        return this.#disk.trim(offset, length, { fua, since })
      case nbd.CMD_CACHE:
        return this.#disk.prefetch!(offset, length)
      default: {
        const noHole = (flags & nbd.CMD_FLAG_NO_HOLE) !== 0
        const fast = (flags & nbd.CMD_FLAG_FAST_ZERO) !== 0
        return this.#disk.zero(offset, length, { fua, noHole, fast, since })
      }
    }
  }

  async #status(request: Request): Promise<Buffer> {
    const one = (request.flags & nbd.CMD_FLAG_REQ_ONE) !== 0
    return statusChunk(request, await describeRange(this.#disk, request.offset, request.length, one))
  }

  #succeed(request: Request, buffer: Buffer | null, whole: LongRequest | null, reply?: Buffer): void {
    this.#ended()
    whole?.done(request.length)
    const isLast = whole === null || whole.isDone
    const room = buffer?.length ?? 0
    if (request.type === nbd.CMD_READ && buffer) {
      const isDone = isLast && (whole?.errno ?? 0) === 0
      const answer = readReply(request, buffer, this.#agreement.structured, isDone)
      this.#context.outbox.push(answer, () => this.#leave(request, room, buffer))
      if (isLast && !isDone) this.#answerError(whole!.request, whole!.errno)
      return
    }
    if (buffer) this.#context.buffers.give(buffer)
    if (!isLast) this.#leave(request, room)
    else if (whole !== null && whole.errno !== 0) this.#refuse(request, whole.errno, room)
    else this.#context.outbox.push(reply ?? this.#emptyReply(request), () => this.#leave(request, room))
  }

  /** The reply without payload, also to a READ of no bytes. */
  #emptyReply(request: Request): Buffer {
    const chunks = this.#agreement.structured && request.type === nbd.CMD_READ
    return chunks ? emptyChunk(request) : simpleReply(request, 0)
  }

  #fail(request: Request, buffer: Buffer | null, error: unknown, whole: LongRequest | null): void {
    this.#ended()
    if (buffer) this.#context.buffers.give(buffer)
    const errno = errnoOf(error)
    const room = buffer?.length ?? 0
    if (whole === null) this.#refuse(request, errno, room)
    else {
      whole.done(request.length, errno)
      if (whole.isDone) this.#refuse(request, whole.errno, room)
      else this.#leave(request, room)
    }
    // That a fast zero is refused is no failure.
    if (errno === nbd.ENOTSUP && request.type === nbd.CMD_WRITE_ZEROES) return
    const { type, offset, length } = request
    const exportName = this.#agreement.entry.name
    this.#context.onDiskError({ exportName, command: nbd.COMMANDS[type], offset, length, error })
  }

  #refuse(request: Request, errno: number, room: number): void {
    this.#answerError(request, errno, () => this.#leave(request, room))
  }

  #answerError(request: Request, errno: number, sent: () => void = () => {}): void {
    this.#context.stats.errors++
    const reply = this.#agreement.structured ? errorChunk(request, errno) : simpleReply(request, errno)
    this.#context.outbox.push(reply, sent)
  }

  #ended(): void {
    this.#running--
    this.#context.stats.inFlight--
  }

  #leave({ type }: Request, room: number, buffer?: Buffer): void {
    const { buffers, windows } = this.#context
    if (buffer) buffers.give(buffer)
    const window = isChange(type) ? windows.changes : windows.others
    window.leave(room)
    this.#context.left()
  }
}

/** When a write has arrived, by `performance.now()`: that of all of its pieces is that of the first. */
function beginning(whole: LongRequest | null, since = performance.now()): number {
  if (whole === null) return since
  whole.since ??= since
  return whole.since
}

function isChange(type: number): boolean {
  return type === nbd.CMD_WRITE || type === nbd.CMD_TRIM || type === nbd.CMD_WRITE_ZEROES
}
