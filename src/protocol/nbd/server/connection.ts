/**
 * One client: handshake, transmission, and the end of it. However it ends, what the disk is busy with is waited for, so
 * that nothing of it is left when `finished` resolves. Nothing that a client does harms more than its own connection.
 */

import type { Socket } from 'node:net'
import { adopt, unsentBytes } from '../../adopt.ts'
import { Feeder, type Parser } from '../../feeder.ts'
import type { PayloadBuffers } from './buffers.ts'
import type { Exports } from './export.ts'
import { Negotiation } from './negotiation.ts'
import { Outbox } from './outbox.ts'
import type { ServerStats } from './stats.ts'
import { type DiskFailure, Transmission, type Windows } from './transmission.ts'
import { type SharedRoom, Window } from './window.ts'

export interface ConnectionContext {
  exports: Exports
  buffers: PayloadBuffers
  stats: ServerStats
  /** Requests of one client in flight at most. */
  maxRequests: number
  /** Bytes of payload of one client in memory at most, for changes and for the rest; a single larger request is taken too. */
  maxBytes: number
  /** Of all clients together. */
  shared: { changes: SharedRoom; others: SharedRoom }
  /** How long a client may take to come to the transmission phase, in milliseconds. */
  handshakeTimeout: number
  /** How long a client may send nothing in the middle of a request, in milliseconds. */
  idleTimeout: number
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
  #windows: Windows | null = null
  /** How often something has come. */
  #heard = 0
  /** What was seen by the look that was the last to see anything new. */
  #seen = { heard: 0, unsent: 0, at: 0 }
  /** Waits for the end of another client's request. */
  readonly #freed = () => this.#left()
  /** No more requests are read. */
  #ending = false
  #closing = false
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

  /** To be called every now and then: ends the connection if its client stopped in the middle of something. */
  check(now: number): void {
    // A reply that others wait for the end of is the client's to take, once the disk is done.
    const isLate = this.#transmission?.running === 0 && this.#windows?.others.blocksOthers
    const isStuck = this.#transmission !== null && (this.#feeder.isMidway || isLate)
    const unsent = isLate ? unsentBytes(this.#socket) : 0
    if (!isStuck || this.#heard !== this.#seen.heard || unsent !== this.#seen.unsent)
      this.#seen = { heard: this.#heard, unsent, at: now }
    else if (now - this.#seen.at >= this.#context.idleTimeout) this.destroy()
  }

  *#session(): Parser {
    // Until there is a socket.
    yield null
    const agreement = yield* new Negotiation(this.#context.exports, (bytes) => this.#socket.write(bytes)).run()
    clearTimeout(this.#handshake)
    if (agreement !== null) {
      const { buffers, stats, maxRequests, maxBytes, shared, onDiskError } = this.#context
      const windows = {
        changes: new Window(maxRequests, maxBytes, shared.changes),
        others: new Window(maxRequests, maxBytes, shared.others),
      }
      this.#windows = windows
      this.#transmission = new Transmission({
        ...{ agreement, windows, buffers, stats, onDiskError },
        outbox: this.#outbox,
        left: () => this.#left(),
        refused: () => this.#waitForOthers(),
      })
      yield* this.#transmission.run()
    }
    this.stop()
  }

  /** False stops the reading. */
  #received(count: number): boolean {
    this.#heard++
    if (!this.#ending) this.#guard(() => this.#feeder.received(count) && this.#transmission?.caughtUp())
    this.#outbox.flush()
    return !this.#ending && !this.#feeder.isWaiting
  }

  /** What this client waits for may be the end of another client's request. */
  #waitForOthers(): void {
    const { others } = this.#context.shared
    if (others.large !== null && others.large !== this.#windows?.others) others.onEnd(this.#freed)
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
    else if (!this.#closing) {
      // Once: each call leaves a listener behind until the socket has taken everything.
      this.#closing = true
      this.#socket.destroySoon()
    }
  }

  #gone(): void {
    this.#closed = true
    this.#ending = true
    this.#context.shared.others.forget(this.#freed)
    this.#windows?.changes.close()
    this.#windows?.others.close()
    this.#guard(() => this.#feeder.end())
    clearTimeout(this.#handshake)
    this.#outbox.flush()
    this.#settle()
  }
}
