/**
 * One connection to an NBD server: handshake, requests with their cookies, replies, and the end. An error of the socket or of the
 * protocol ends the connection and fails every request with the same error, the first one. An error that the server reports for a
 * request fails that request alone.
 */

import { connect, type Socket } from 'node:net'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Feeder, type Parser } from '../feeder.ts'
import * as nbd from './constants.ts'
import { negotiate, type Terms } from './handshake.ts'
import { type Pending, parseReplies } from './replies.ts'
import { type Cookie, encodeRequest } from './requests.ts'
import { formatNbdAddress, type NbdAddress } from './uri.ts'

export interface ConnectionOptions {
  /** The server's name in messages; its address by default. */
  name?: string
  /** Ends the connection at any time. */
  signal?: AbortSignal
  /** What BLOCK_STATUS tells: a context of metadata; base:allocation by default. */
  context?: string
  /** How long connecting and the handshake may take together, in milliseconds. */
  connectTimeout?: number
  /** How long a server may send nothing while requests wait, in milliseconds. A FLUSH gets ten times as long. */
  progressTimeout?: number
}

/** A request of a client, for `send`. */
export interface ClientRequest {
  type: number
  flags?: number
  offset?: number
  length?: number
  /** Where a READ's data goes. */
  into?: Uint8Array
  /** The data of a WRITE. */
  payload?: readonly Uint8Array[]
  /** How long to wait for a server that is away, in milliseconds; for ever unless given. */
  patience?: number | undefined
}

interface InFlight extends Pending {
  resolve(answer: Pending): void
  reject(error: Error): void
  /** Events to come before the caller gets its buffers back: the reply, and that the kernel has taken the payload. */
  outstanding: number
}

/** The upper half of our cookies. A reply with another one is not to a request of ours. */
const COOKIE_HIGH = 0x766d6170

export class Connection {
  readonly #name: string
  readonly #socket: Socket
  readonly #requests = new Map<number, InFlight>()
  readonly #feeder: Feeder
  readonly #progressTimeout: number
  #nextCookie = 0
  #error: VmapipeError | null = null
  #corked = false
  #lastProgress = 0
  readonly #watch: NodeJS.Timeout
  readonly #closed: Promise<void>
  #settled: (outcome: Terms | VmapipeError) => void = () => {}
  /** Called once, when the connection has ended. */
  onEnd: (error: VmapipeError) => void = () => {}
  #forgetSignal = () => {}

  private constructor(address: NbdAddress, { progressTimeout = 60_000, name, context }: ConnectionOptions) {
    this.#name = name ?? formatNbdAddress(address)
    this.#progressTimeout = progressTimeout
    this.#feeder = new Feeder(this.#session(address.exportName, context))
    const onread = { buffer: () => this.#feeder.target(), callback: (count: number) => this.#received(count) }
    this.#socket =
      'socketPath' in address
        ? connect({ path: address.socketPath, onread })
        : connect({ host: address.host, port: address.port, noDelay: true, onread })
    this.#socket.on('error', (error) => this.fail(error))
    this.#socket.on('end', () => this.fail(new VmapipeError('FAILED', 'the NBD server closed the connection')))
    this.#closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    this.#watch = setInterval(() => this.#checkProgress(), progressTimeout / 4).unref()
  }

  /** Connects and negotiates. */
  static async open(address: NbdAddress, options: ConnectionOptions = {}): Promise<[Connection, Terms]> {
    const { signal, connectTimeout = 10_000 } = options
    signal?.throwIfAborted()
    const connection = new Connection(address, options)
    const abort = () => connection.fail(asVmapipeError(signal!.reason))
    signal?.addEventListener('abort', abort)
    connection.#forgetSignal = () => signal?.removeEventListener('abort', abort)
    const timer = setTimeout(() => {
      connection.fail(new VmapipeError('FAILED', `no NBD handshake within ${connectTimeout / 1000} s`))
    }, connectTimeout)
    const outcome = await new Promise<Terms | VmapipeError>((resolve) => {
      connection.#settled = resolve
    })
    clearTimeout(timer)
    if (outcome instanceof VmapipeError) throw outcome
    return [connection, outcome]
  }

  get inFlight(): number {
    return this.#requests.size
  }

  /** Why the connection has ended; null if it has not. */
  get error(): VmapipeError | null {
    return this.#error
  }

  /** Resolves when the server has answered without an error and no buffer of the request is in use any more. */
  send({ type, flags = 0, offset = 0, length = 0, into, payload }: ClientRequest): Promise<Pending> {
    return new Promise((resolve, reject) => {
      if (this.#error) {
        reject(this.#error)
        return
      }
      const low = this.#freeCookie()
      const request: InFlight = {
        type,
        offset,
        length,
        into: into ?? null,
        coverage: null,
        extents: null,
        error: null,
        outstanding: payload ? 2 : 1,
        resolve,
        reject,
      }
      if (this.#requests.size === 0) this.#lastProgress = performance.now()
      this.#requests.set(low, request)
      this.#transmit(encodeRequest(type, flags, { high: COOKIE_HIGH, low }, offset, length), payload, request)
    })
  }

  /** Ends the connection with this error; the first one counts. */
  fail(cause: unknown): void {
    if (this.#error) return
    const error = asVmapipeError(cause)
    const { code, message, hint } = error
    this.#error = new VmapipeError(code, `${this.#name}: ${message}`, { ...error.where, hint, cause: error.cause })
    // The socket goes first, because it uses the buffers of requests. Then their owners get them back.
    this.#socket.destroy()
    clearInterval(this.#watch)
    this.#forgetSignal()
    for (const request of this.#requests.values()) request.reject(this.#error)
    this.#requests.clear()
    this.#settled(this.#error)
    this.onEnd(this.#error)
  }

  /** Disconnects in order if nothing is in flight. Otherwise what is in flight fails. */
  async close(): Promise<void> {
    if (!this.#error && this.#requests.size === 0) {
      this.#socket.end(encodeRequest(nbd.CMD_DISC, 0, { high: COOKIE_HIGH, low: this.#freeCookie() }, 0, 0))
      const timer = setTimeout(() => this.#socket.destroy(), 1000)
      await this.#closed
      clearTimeout(timer)
    }
    this.fail(new VmapipeError('FAILED', 'the connection was closed'))
    await this.#closed
  }

  *#session(exportName: string, context: string | undefined): Parser<never> {
    const terms = yield* negotiate(exportName, (bytes) => this.#socket.write(bytes), context)
    this.#settled(terms)
    const requests = {
      find: ({ high, low }: Cookie) => (high === COOKIE_HIGH ? this.#requests.get(low) : undefined),
      done: (request: Pending, { low }: Cookie) => {
        this.#requests.delete(low)
        this.#release(request as InFlight)
      },
    }
    return yield* parseReplies(requests, terms.structured, terms.allocationContext)
  }

  #received(count: number): boolean {
    this.#lastProgress = performance.now()
    try {
      if (!this.#error) this.#feeder.received(count)
    } catch (error) {
      this.fail(error)
    }
    return true
  }

  /** Sends all requests of one turn of the event loop together. */
  #transmit(header: Buffer, payload: readonly Uint8Array[] | undefined, request: InFlight): void {
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    if (!payload) {
      this.#socket.write(header)
      return
    }
    this.#socket.write(header)
    for (const [i, buffer] of payload.entries()) {
      if (i < payload.length - 1) this.#socket.write(buffer)
      else this.#socket.write(buffer, (error) => (error ? this.#unsent(request, error) : this.#release(request)))
    }
  }

  /** Settles a request when both have happened, in any order. A reply may come before the payload was taken. */
  #unsent(request: InFlight, error: Error): void {
    this.fail(error)
    request.reject(this.#error!)
  }

  #release(request: InFlight): void {
    if (--request.outstanding > 0) return
    const { error } = request
    if (error === null) request.resolve(request)
    else request.reject(this.#serverError(request))
  }

  #serverError({ error, offset, length, type }: InFlight): VmapipeError {
    const { errno, message } = error!
    const what = nbd.COMMANDS[type] ?? `command ${type}`
    const why = nbd.ERRORS[errno] ?? `error ${errno}`
    const said = message === '' ? '' : `: ${message}`
    const cause = Object.assign(new Error(why), { code: nbd.ERROR_CODES[errno] ?? 'EIO' })
    return new VmapipeError('FAILED', `${this.#name}: ${what} of ${length} bytes failed: ${why}${said}`, {
      offset,
      cause,
    })
  }

  #checkProgress(): void {
    if (this.#requests.size === 0) return
    const flushing = [...this.#requests.values()].some(({ type }) => type === nbd.CMD_FLUSH)
    const patience = this.#progressTimeout * (flushing ? 10 : 1)
    if (performance.now() - this.#lastProgress < patience) return
    this.fail(new VmapipeError('FAILED', `the NBD server has not answered for ${patience / 1000} s`))
  }

  #freeCookie(): number {
    do this.#nextCookie = (this.#nextCookie + 1) >>> 0
    while (this.#requests.has(this.#nextCookie))
    return this.#nextCookie
  }
}
