/** One request to a service that changes to our own protocol, and what comes for it, which a parser takes in as it arrives. */

import { connect, type Socket } from 'node:net'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Feeder, type Parser } from '../../protocol/feeder.ts'
import { type Head, parseHead, parseText } from './http-head.ts'

/** The largest answer, in bytes, that is not what was asked for. */
const MAX_ANSWER = 1 << 20

const SWITCHING_PROTOCOLS = 101

/** An answer that is not what was asked for. */
export interface Refusal {
  status: number
  text: string
}

interface ExchangeOptions {
  /** Of the control socket. */
  path: string
  /** The target of the HTTP request: path and query. */
  target: string
  headers: readonly string[]
  /** The body of the request, JSON. */
  text: string
  signal?: AbortSignal
  /** Takes in what comes behind the head. If the connection ends before `whole` was called, that is an error. */
  body(): Parser
  /** The exchange has ended, successfully or not. */
  ended(): void
}

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #socket: Socket
  readonly #feeder: Feeder
  readonly #abort = () => this.end(aborted(this.#options.signal!))
  #answer!: { resolve: (refusal: Refusal | null) => void; reject: (error: unknown) => void }
  /** Resolves when what was asked for begins, or with what was answered instead. */
  readonly answer: Promise<Refusal | null>
  #state: 'open' | 'whole' | VmapipeError = 'open'

  constructor(options: ExchangeOptions) {
    const { path, target, headers, text, signal } = options
    this.#options = options
    this.answer = new Promise((resolve, reject) => {
      this.#answer = { resolve, reject }
    })
    this.#feeder = new Feeder(this.#session())
    const onread = { buffer: () => this.#feeder.target(), callback: (count: number) => this.#received(count) }
    this.#socket = connect({ path, onread })
    this.#socket.on('error', (error) => this.end(connectionError(path, error)))
    this.#socket.once('close', () => this.end(this.#cut()))
    signal?.addEventListener('abort', this.#abort, { once: true })
    if (signal?.aborted) this.#abort()
    const body = Buffer.from(text)
    const lines = [
      `POST ${target} HTTP/1.1`,
      'Host: control',
      ...headers,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ]
    this.send(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`))
    this.send(body)
  }

  /** Why nothing more comes; null if it is open or all has come. */
  get failure(): VmapipeError | null {
    return this.#state instanceof VmapipeError ? this.#state : null
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get isWhole(): boolean {
    return this.#state === 'whole'
  }

  send(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes)
  }

  /** Lets a parser that waits look again, such as for room. */
  wake(): void {
    if (!this.isOpen) return
    this.#guard(() => this.#feeder.wake())
    if (!this.#feeder.isWaiting) this.#socket.resume()
  }

  /** All has come. */
  whole(): void {
    if (!this.isOpen) return
    this.#state = 'whole'
    this.#release()
  }

  /** Ends the exchange with this error, unless it has ended already. */
  end(error: VmapipeError): void {
    if (!this.isOpen) return
    this.#state = error
    this.#release()
    this.#answer.reject(error)
  }

  *#session(): Parser {
    const { status, headers } = yield* parseHead()
    if (status === SWITCHING_PROTOCOLS) {
      const body = this.#options.body()
      this.#answer.resolve(null)
      return yield* body
    }
    this.#answer.resolve({ status, text: yield* parseText(lengthOf(headers)) })
    this.whole()
  }

  /** Returns false to stop reading. */
  #received(count: number): boolean {
    this.#guard(() => this.#feeder.received(count))
    return this.isOpen && !this.#feeder.isWaiting
  }

  #guard(work: () => void): void {
    try {
      if (this.isOpen) work()
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.file ??= this.#options.path
      this.end(failure)
    }
  }

  #release(): void {
    this.#options.signal?.removeEventListener('abort', this.#abort)
    // First the socket, which reads into memory of the caller; then the caller may reuse that.
    this.#socket.destroy()
    this.#options.ended()
  }

  #cut(): VmapipeError {
    return new VmapipeError('FAILED', 'the service broke off before the archive was whole', {
      file: this.#options.path,
    })
  }
}

/** What went wrong with the socket at `path`. */
export function connectionError(path: string, error: NodeJS.ErrnoException): VmapipeError {
  const isMissing = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
  const hint = isMissing ? 'is `vmapipe serve --control` running there?' : undefined
  return asVmapipeError(error, { file: path, hint })
}

function aborted({ reason }: AbortSignal): VmapipeError {
  return reason instanceof VmapipeError ? reason : new VmapipeError('ABORTED', 'aborted', { cause: reason })
}

/** Of an answer that is not what was asked for. */
function lengthOf(headers: Head['headers']): number {
  const length = Number(headers.get('content-length') ?? 0)
  return Number.isSafeInteger(length) && length >= 0 && length <= MAX_ANSWER ? length : 0
}
