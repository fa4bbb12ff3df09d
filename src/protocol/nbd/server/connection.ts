/**
 * One client: handshake, transmission, and the end. However it ends, `finished` resolves only when the disk has done all requests of
 * the client. An error of a client ends only its own connection.
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

/** A client may send nothing in the middle of a request for so many looks in a row. */
export const LOOKS = 4

export interface ConnectionContext {
  exports: Exports
  buffers: PayloadBuffers
  stats: ServerStats
  /** The most requests of one client in flight. */
  maxRequests: number
  /** The most bytes of payload of one client in memory: for changes, and as many for the rest. One larger request is taken too. */
  maxBytes: number
  /** The memory of all clients together. */
  shared: { changes: SharedRoom; others: SharedRoom }
  /** How long the handshake may take, in milliseconds. */
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
  #windows: Windows | null = null
  /** The number of reads that got bytes. */
  #heard = 0
  /** What the last check saw that found anything new. */
  #seen = { heard: 0, unsent: 0, looks: 0 }
  /** Called when the large request of another client, which this one waits for, has ended. */
  readonly #freed = () => this.#left()
  /** Whether no more requests are read. */
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

  /** Reads no more requests, and closes when all that were read are answered. */
  stop(): void {
    this.#ending = true
    this.#socket.pause()
    this.#settle()
  }

  /** Closes at once. Requests that the disk is busy with continue. */
  destroy(): void {
    this.#ending = true
    this.#socket.destroy()
  }

  /**
   * Ends the connection if its client has stopped in the middle of a request or a reply. To be called regularly. Looks
   * are counted, not time: who was held up itself, such as by SIGSTOP, has not read meanwhile what the client sent.
   */
  check(): void {
    // If other clients wait for the end of a large request, this client must take the reply once the disk is done.
    const isLate = this.#transmission?.running === 0 && this.#windows?.others.blocksOthers
    const isStuck = this.#transmission !== null && (this.#feeder.isMidway || isLate)
    const unsent = isLate ? unsentBytes(this.#socket) : 0
    if (!isStuck || this.#heard !== this.#seen.heard || unsent !== this.#seen.unsent)
      this.#seen = { heard: this.#heard, unsent, looks: 0 }
    else if (++this.#seen.looks >= LOOKS) this.destroy()
  }

  *#session(): Parser {
    // Waits until the socket is set.
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

  /** Takes bytes that have come. False stops the reading. */
  #received(count: number): boolean {
    this.#heard++
    if (!this.#ending) this.#guard(() => this.#feeder.received(count) && this.#transmission?.caughtUp())
    this.#outbox.flush()
    return !this.#ending && !this.#feeder.isWaiting
  }

  /** Reads on when the window has space. This client may wait for the end of another client's request. */
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

  /** Runs `work`. An error, the client's or ours, ends this connection alone. */
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
      // Only once, as each call adds a listener until the socket has sent everything.
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
