/**
 * A connection to a server that may go away and come back: for a guest's disk, which has no errors just because a server is started
 * anew. Requests that were under way are made again on the next connection, and wait for it as long as it takes: a read or
 * a write of the same bytes may be done twice. What the server had acknowledged and not made durable is made again before
 * them (journal.ts), so that a flush that succeeds covers everything that was acknowledged before it.
 *
 * A server that comes back with something else than before (another size, read-only) is another one: that is the end.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { ClientRequest, Connection, ConnectionOptions } from './connection.ts'
import * as nbd from './constants.ts'
import type { Terms } from './handshake.ts'
import { type Change, Journal } from './journal.ts'
import type { Pending } from './replies.ts'
import { changeOf } from './same-export.ts'

/** Connects, and starts the server before if it is ours. */
export type Opener = (options: ConnectionOptions) => Promise<[Connection, Terms]>

export interface UpstreamStatus {
  connected: boolean
  /** Since when it is so, in seconds since the epoch. */
  since: number
  /** How often it came back. */
  reconnects: number
  /** Why it went away, or why it is still away; null while it is connected. */
  error: string | null
  /** Bytes that are kept because the server may not have made them durable. */
  unflushed: number
}

export type UpstreamEvent =
  | { kind: 'lost'; error: VmapipeError }
  | { kind: 'back'; seconds: number }
  | { kind: 'replaced'; error: VmapipeError }

/** Who has a lasting connection, as those see it who look after a service. */
export interface Upstream {
  readonly status: UpstreamStatus
  onEvent: (event: UpstreamEvent) => void
  /** It is waited for no more: what waits fails. */
  giveUp(): void
}

/** Milliseconds between attempts, from the first failed one on. */
const FIRST_DELAY_MS = 100
const MAX_DELAY_MS = 2000
/** A connection that held for less counts as a failed attempt: a server that dies of our requests is not asked in a loop. */
const SETTLED_MS = 5000
/** Changes that are made again at once. */
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
  /** What was acknowledged is lost: no flush succeeds any more. */
  #lost: VmapipeError | null = null
  #flushing: Promise<void> | null = null

  /** `keep`: bytes of changes that are kept until they are durable. */
  constructor([connection, terms]: [Connection, Terms], open: Opener, keep: number) {
    this.#terms = terms
    this.#open = open
    const has = (flag: number) => (terms.flags & flag) !== 0
    // A server without FLUSH has nothing that it could lose, or nobody can do anything about it.
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

  /** The connection that there is ends; requests go on with the next one. */
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
        // A server that shuts down says so to all requests: the next one answers them.
        if (connection.error === null && isShutdown(error)) connection.fail(error)
        if (connection.error === null) throw error
        if (this.#ended) throw this.#ended
      }
    }
  }

  async #flush(request: ClientRequest): Promise<Pending> {
    if (this.#lost) throw this.#lost
    // Not more than what was acknowledged by now; if it is asked anew this has been made again before.
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

  /** Waits for room; false if nothing is to be kept any more. */
  async #reserve(journal: Journal, change: Change): Promise<boolean> {
    while (!this.#lost && !this.#ended) {
      await this.#makeRoom()
      if (journal.reserve(change)) return true
    }
    return false
  }

  /** Flushes, so that what is kept may go. Never fails. */
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

  /** Flushes fail from now on, so there is nothing to be kept. */
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

  /** It is nobody's disk any more; requests wait until somebody gives up. */
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

/** The answer to a flush that has nothing to do. */
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
