/**
 * One client: handshake, transmission, and the end of it. However it ends, what the disk is busy with is waited for, so
 * that nothing of it is left when `finished` resolves. Nothing that a client does harms more than its own connection.
 */

import type { Socket } from 'node:net'
import { Feeder, type Parser } from '../feeder.ts'
import { adopt } from './adopt.ts'
import type { PayloadBuffers } from './buffers.ts'
import type { Exports } from './export.ts'
import { Negotiation } from './negotiation.ts'
import { Outbox } from './outbox.ts'
import type { ServerStats } from './stats.ts'
import { type DiskFailure, Transmission } from './transmission.ts'
import { type SharedBytes, Window } from './window.ts'

export interface ConnectionContext {
  exports: Exports
  buffers: PayloadBuffers
  stats: ServerStats
  /** Requests of one client in flight at most. */
  maxRequests: number
  /** Bytes of payload of one client in memory at most; a single larger request is taken too. */
  maxBytes: number
  /** Of all clients together. */
  shared: SharedBytes
  /** How long a client may take to come to the transmission phase, in milliseconds. */
  handshakeTimeout: number
  onDiskError: (failure: DiskFailure) => void
}

export class ServerConnection {
  readonly finished: Promise<void>
  readonly #context: ConnectionContext
  readonly #feeder: Feeder
  readonly #socket: Socket
  readonly #outbox: Outbox
  readonly #handshake: NodeJS.Timeout
  #transmission: Transmission | null = null
  #window: Window | null = null
  /** No more requests are read. */
  #ending = false
  #closed = false
  #finish: () => void = () => {}

  constructor(accepted: Socket, context: ConnectionContext) {
    this.#context = context
    this.finished = new Promise((resolve) => {
      this.#finish = resolve
    })
    this.#feeder = new Feeder(this.#session())
    this.#socket = adopt(accepted, { buffer: () => this.#feeder.target(), callback: (count) => this.#received(count) })
    this.#outbox = new Outbox(this.#socket)
    this.#handshake = setTimeout(() => this.destroy(), context.handshakeTimeout)
    this.#socket.on('error', () => {})
    this.#socket.on('end', () => this.stop())
    this.#socket.on('close', () => this.#gone())
    this.#guard(() => this.#feeder.wake())
    this.#socket.resume()
  }

  /** Reads nothing more; closes when everything is answered that was read. */
  stop(): void {
    this.#ending = true
    this.#socket.pause()
    this.#settle()
  }

  /** Closes now. What the disk is busy with goes on. */
  destroy(): void {
    this.#ending = true
    this.#socket.destroy()
  }

  *#session(): Parser {
    // Until there is a socket.
    yield null
    const agreement = yield* new Negotiation(this.#context.exports, (bytes) => this.#socket.write(bytes)).run()
    clearTimeout(this.#handshake)
    if (agreement !== null) {
      const { buffers, stats, maxRequests, maxBytes, shared, onDiskError } = this.#context
      const window = new Window(maxRequests, maxBytes, shared)
      this.#window = window
      this.#transmission = new Transmission({
        ...{ agreement, window, buffers, stats, onDiskError },
        outbox: this.#outbox,
        left: () => this.#left(),
      })
      yield* this.#transmission.run()
    }
    this.stop()
  }

  /** False stops the reading. */
  #received(count: number): boolean {
    if (!this.#ending) this.#guard(() => this.#feeder.received(count))
    this.#outbox.flush()
    return !this.#ending && !this.#feeder.isWaiting
  }

  #left(): void {
    if (this.#ending) this.#settle()
    else if (this.#feeder.isWaiting) {
      this.#guard(() => this.#feeder.wake())
      if (!this.#ending && !this.#feeder.isWaiting) this.#socket.resume()
    }
  }

  /** Whatever the client said that makes no sense, and whatever else goes wrong here, ends this connection alone. */
  #guard(work: () => void): void {
    try {
      work()
    } catch {
      this.destroy()
    }
  }

  #settle(): void {
    const running = this.#transmission?.running ?? 0
    if (running > 0 || !this.#outbox.isEmpty) return
    if (this.#closed) this.#finish()
    else this.#socket.destroySoon()
  }

  #gone(): void {
    this.#closed = true
    this.#ending = true
    this.#window?.close()
    clearTimeout(this.#handshake)
    this.#outbox.flush()
    this.#settle()
  }
}
