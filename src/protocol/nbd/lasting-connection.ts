/**
 * A connection to a server that may go away and come back, for a guest's disk: a restart of the server is no error for the guest.
 * Requests that were in flight wait for the next connection, however long that takes, and are sent again. So a read or write of the
 * same bytes may be done twice. Before them all changes are sent again that the server had acknowledged and not made durable
 * (journal.ts). So a flush that succeeds covers all that was acknowledged before it.
 *
 * If the server comes back with another export than before (another size, read-only), the connection is not used any more.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { ClientRequest, Connection, ConnectionOptions } from './connection.ts'
import * as nbd from './constants.ts'
import type { Terms } from './handshake.ts'
import { type Change, Journal } from './journal.ts'
import type { Pending } from './replies.ts'
import { changeOf } from './same-export.ts'

/** Connects. If the server is our own, starts it first. */
export type Opener = (options: ConnectionOptions) => Promise<[Connection, Terms]>

export interface UpstreamStatus {
  connected: boolean
  /** Since when it is connected or away, in seconds since 1970. */
  since: number
  /** How often the server came back. */
  reconnects: number
  /** Why the server went away, or is still away; null while it is connected. */
  error: string | null
  /** Bytes that are kept because the server may not have made them durable. */
  unflushed: number
}

export type UpstreamEvent =
  | { kind: 'lost'; error: VmapipeError }
  | { kind: 'back'; seconds: number }
  | { kind: 'replaced'; error: VmapipeError }

/** A lasting connection as a service shows it. */
export interface Upstream {
  readonly status: UpstreamStatus
  onEvent: (event: UpstreamEvent) => void
  /** Stops waiting for the server. Requests that wait fail. */
  giveUp(): void
}

/** Milliseconds between two attempts to connect: the delay doubles with each that fails, up to the maximum. */
const FIRST_DELAY_MS = 100
const MAX_DELAY_MS = 2000
/** A connection that lasted for less than 5 s counts as a failed attempt, so that a server that crashes on our requests gets pauses. */
const SETTLED_MS = 5000
/** The number of changes in flight when they are sent again. */
const REPLAY_DEPTH = 16

export class LastingConnection implements Upstream {
  onEvent: (event: UpstreamEvent) => void = () => {}
  readonly #terms: Terms
  readonly #open: Opener
  readonly #journal: Journal | null
  readonly #closing = new AbortController()
  #connection: Connection | null = null
  #back = Promise.withResolvers<Connection>()
  #since = Date.now() / 1000
  #connectedAt = 0
  #delay = 0
  #reconnects = 0
  #error: string | null = null
  #ended: VmapipeError | null = null
  #gaveUp = false
  /** Why acknowledged changes may be lost. Then no flush succeeds any more. */
  #lost: VmapipeError | null = null
  #flushing: Promise<void> | null = null

  /** `keep`: the bytes of changes that are kept until they are durable. */
  constructor([connection, terms]: [Connection, Terms], open: Opener, keep: number) {
    this.#terms = terms
    this.#open = open
    const has = (flag: number) => (terms.flags & flag) !== 0
    // A server without FLUSH has no volatile cache, or none that a client could flush.
    this.#journal = has(nbd.FLAG_SEND_FLUSH) && !has(nbd.FLAG_READ_ONLY) ? new Journal(keep) : null
    this.#use(connection)
  }

  get status(): UpstreamStatus {
    return {
      connected: this.#connection !== null,
      since: this.#since,
      reconnects: this.#reconnects,
      error: this.#error,
      unflushed: this.#journal?.used ?? 0,
    }
  }

  async send(request: ClientRequest): Promise<Pending> {
    if (request.type === nbd.CMD_FLUSH) return this.#flush(request)
    const journal = this.#journal
    if (journal === null || !isChange(request.type)) return this.#ask(request)
    const change = asChange(request)
    const isKept = journal.reserve(change) || (await this.#reserve(journal, change))
    if (journal.used > journal.capacity / 2) void this.#makeRoom()
    try {
      const answer = await this.#ask(request)
      if (isKept) journal.add(change)
      return answer
    } catch (error) {
      if (isKept) journal.cancel(change)
      throw error
    }
  }

  /** Ends the present connection. Requests continue with the next one. */
  fail(error: unknown): void {
    this.#connection?.fail(error)
  }

  giveUp(): void {
    this.#gaveUp = true
    this.#end(new VmapipeError('FAILED', `the NBD server is away${this.#error === null ? '' : `: ${this.#error}`}`))
    this.#connection?.fail(this.#ended)
  }

  async close(): Promise<void> {
    this.#end(new VmapipeError('FAILED', 'the connection was closed'))
    await this.#connection?.close()
  }

  async #ask(request: ClientRequest): Promise<Pending> {
    for (;;) {
      const connection = this.#connection ?? (await this.#returned(request.patience))
      try {
        return await connection.send(request)
      } catch (error) {
        // A server that is shutting down refuses all requests. They are for the next connection.
        if (connection.error === null && isShutdown(error)) connection.fail(error)
        if (connection.error === null) throw error
        if (this.#ended) throw this.#ended
      }
    }
  }

  async #flush(request: ClientRequest): Promise<Pending> {
    if (this.#lost) throw this.#lost
    // Covers only what is acknowledged by now. If the flush is sent again, these changes were sent again before it.
    const mark = this.#journal?.mark ?? 0
    if (this.#gaveUp && this.#journal?.isEmpty) return NOTHING
    try {
      const answer = await this.#ask(request)
      this.#journal?.drop(mark)
      return answer
    } catch (error) {
      if (this.#ended) throw this.#unflushed()
      this.#lose(error)
      throw error
    }
  }

  /** Waits for space in the journal. False if changes need not be kept any more. */
  async #reserve(journal: Journal, change: Change): Promise<boolean> {
    while (!this.#lost && !this.#ended) {
      await this.#makeRoom()
      if (journal.reserve(change)) return true
    }
    return false
  }

  /** Flushes, so that the journal can forget changes. Never fails. */
  #makeRoom(): Promise<void> {
    this.#flushing ??= this.#flush({ type: nbd.CMD_FLUSH })
      .then(
        () => {},
        () => {},
      )
      .finally(() => {
        this.#flushing = null
      })
    return this.#flushing
  }

  /** Fails all flushes from now on. Changes need not be kept any more then. */
  #lose(error: unknown): void {
    this.#lost ??= asVmapipeError(error)
    this.#journal?.drop(Number.POSITIVE_INFINITY)
  }

  #use(connection: Connection): void {
    this.#connection = connection
    this.#connectedAt = performance.now()
    this.#since = Date.now() / 1000
    this.#error = null
    connection.onEnd = (error) => this.#lostIt(error)
    if (connection.error) this.#lostIt(connection.error)
  }

  #lostIt(error: VmapipeError): void {
    this.#connection = null
    if (this.#ended) return
    this.#since = Date.now() / 1000
    this.#error = error.message
    this.#back = Promise.withResolvers()
    this.#back.promise.catch(() => {})
    this.onEvent({ kind: 'lost', error })
    void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#closing
    const lostAt = performance.now()
    this.#delay = lostAt - this.#connectedAt < SETTLED_MS ? nextDelay(this.#delay) : 0
    while (!this.#ended) {
      try {
        await sleep(this.#delay, undefined, { signal })
        const [connection, terms] = await this.#open({ signal })
        const other = changeOf(this.#terms, terms)
        if (other !== null) {
          await connection.close()
          this.#replaced(other)
          return
        }
        await this.#replay(connection)
        if (connection.error) throw connection.error
        this.#use(connection)
        this.#reconnects++
        this.#back.resolve(connection)
        this.onEvent({ kind: 'back', seconds: (performance.now() - lostAt) / 1000 })
        return
      } catch (error) {
        this.#error = asVmapipeError(error).message
        this.#delay = nextDelay(this.#delay)
      }
    }
  }

  /** The export is not the one that it was. Requests wait until `giveUp` or `close`. */
  #replaced(what: string): void {
    const error = new VmapipeError('FAILED', `the NBD server came back ${what}`, {
      hint: 'start the service again if this is the right disk',
    })
    this.#error = error.message
    this.onEvent({ kind: 'replaced', error })
  }

  async #replay(connection: Connection): Promise<void> {
    const changes = this.#journal?.changes() ?? []
    let next = 0
    const work = async () => {
      while (next < changes.length) {
        const change = changes[next++]
        try {
          await connection.send(change)
        } catch (error) {
          if (connection.error) throw error
          this.#lose(error)
        }
      }
    }
    const outcomes = await Promise.allSettled(Array.from({ length: REPLAY_DEPTH }, work))
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  async #returned(patience: number | undefined): Promise<Connection> {
    if (this.#ended) throw this.#ended
    if (patience === undefined) return this.#back.promise
    const late = new AbortController()
    const tooLate = sleep(patience, null, { signal: late.signal }).catch(() => null)
    const connection = await Promise.race([this.#back.promise, tooLate]).finally(() => late.abort())
    if (connection !== null) return connection
    throw new VmapipeError('FAILED', `the NBD server has been away for ${patience / 1000} s: ${this.#error}`)
  }

  #end(error: VmapipeError): void {
    if (this.#ended) return
    this.#ended = error
    this.#closing.abort(error)
    if (this.#connection === null) this.#back.reject(error)
  }

  #unflushed(): VmapipeError {
    if (this.#journal === null || this.#journal.isEmpty) return this.#ended!
    const message = `${this.#ended!.message}; what was written since the last flush may be lost`
    return new VmapipeError('FAILED', message, { cause: this.#ended })
  }
}

/** The answer to a flush that has nothing to flush. */
const NOTHING: Pending = {
  type: nbd.CMD_FLUSH,
  offset: 0,
  length: 0,
  into: null,
  coverage: null,
  extents: null,
  error: null,
}

function nextDelay(delay: number): number {
  return Math.min(MAX_DELAY_MS, Math.max(FIRST_DELAY_MS, 2 * delay))
}

function isChange(type: number): boolean {
  return type === nbd.CMD_WRITE || type === nbd.CMD_WRITE_ZEROES || type === nbd.CMD_TRIM
}

function asChange({ type, flags = 0, offset = 0, length = 0, payload }: ClientRequest): Change {
  return { type, flags: flags & ~nbd.CMD_FLAG_FUA, offset, length, payload }
}

function isShutdown(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ESHUTDOWN'
}
