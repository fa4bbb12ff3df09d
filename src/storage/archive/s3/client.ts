/** Asks an S3 store: signs each request, and repeats one that failed on the way or because the store is busy. */

import { setTimeout as sleep } from 'node:timers/promises'
import { AwsV4Signer } from 'aws4fetch'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { type Answer, exchange, type Message, type Transport } from './exchange.ts'
import { refusal, S3Error } from './s3-error.ts'
import { s3Name } from './s3-url.ts'
import { readSettings, type S3Settings } from './settings.ts'

export interface S3Request {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  /** Without a key, the bucket is asked. */
  key?: string
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: readonly Uint8Array[]
  receive?: Message['receive']
  signal?: AbortSignal
  /** A store may be silent for minutes while it puts an object together. */
  isSlow?: boolean
  /** How often it is tried; as the settings say by default. */
  attempts?: number
}

/** Times in milliseconds. Tests have shorter ones. */
export interface Patience {
  idle: number
  /** With `isSlow`. */
  slowIdle: number
  firstWait: number
  longestWait: number
}

const PATIENCE: Patience = { idle: 30_000, slowIdle: 300_000, firstWait: 200, longestWait: 15_000 }

/** The slowest transfer that is waited for, in bytes a millisecond: 32 KiB a second. */
const LEAST_RATE = 32

/** What the store says if it, and not the request, is the reason. */
const BUSY = new Set([
  'SlowDown',
  'RequestTimeout',
  'InternalError',
  'ServiceUnavailable',
  'BadDigest',
  'OperationAborted',
])

export class S3Client {
  readonly settings: S3Settings
  readonly bucket: string
  readonly #transport: Transport
  readonly #patience: Patience
  readonly #warn: (message: string) => void
  /** Keys of a day that were derived from the secret key. */
  readonly #cache = new Map<string, ArrayBuffer>()
  #hasWarned = false

  private constructor(bucket: string, settings: S3Settings, transport: Transport, options: ClientOptions) {
    this.bucket = bucket
    this.settings = settings
    this.#transport = transport
    this.#patience = { ...PATIENCE, ...options.patience }
    this.#warn = options.warn ?? (() => {})
  }

  /** Throws USAGE if the settings make no sense or a credential is missing. */
  static async open(bucket: string, options: ClientOptions = {}): Promise<S3Client> {
    const settings = await readSettings(options.env)
    return new S3Client(bucket, settings, await transportFor(settings), options)
  }

  /** Asks, and asks again if that may help. Throws for every answer that is no success. */
  async ask(request: S3Request): Promise<Answer> {
    const attempts = request.attempts ?? this.settings.attempts
    for (let attempt = 1; ; attempt++) {
      const { error, answer } = await this.#try(request)
      if (error === null) return answer!
      if (request.signal?.aborted) throw asVmapipeError(request.signal.reason)
      if (attempt >= attempts || !mayPass(error)) throw attempt === 1 ? error : repeated(error, attempt)
      if (!this.#hasWarned) this.#warn(`${error.text}: it is tried again`)
      this.#hasWarned = true
      await this.wait(attempt, request.signal, answer)
    }
  }

  /** Waits before the next attempt: longer each time, and for a part of the time that is random, so that not all come at once. */
  async wait(attempt: number, signal?: AbortSignal, answer?: Answer | null): Promise<void> {
    const { firstWait, longestWait } = this.#patience
    const least = Number(answer?.headers['retry-after'] ?? 0) * 1000
    const wait = Math.min(longestWait, firstWait * 2 ** (attempt - 1))
    await sleep(Math.max(Math.min(least || 0, longestWait), wait / 2 + Math.random() * (wait / 2)), undefined, {
      signal,
    })
  }

  /** Closes the connections. */
  close(): void {
    this.#transport.agent.destroy()
  }

  async #try(request: S3Request): Promise<{ error: VmapipeError | null; answer: Answer | null }> {
    const name = request.key === undefined ? `s3://${this.bucket}` : s3Name({ bucket: this.bucket, key: request.key })
    try {
      const answer = await exchange(this.#transport, await this.#message(request))
      if (answer.status >= 200 && answer.status < 300) return { error: null, answer }
      return { error: refusal(answer, { name, bucket: this.bucket, settings: this.settings }), answer }
    } catch (error) {
      if (error instanceof S3Error || (error instanceof VmapipeError && error.code !== 'FAILED'))
        return { error, answer: null }
      const { host } = this.settings.endpoint
      const { code, message } = asVmapipeError(error)
      return { error: new VmapipeError(code, `${name}: ${host}: ${message}`, { cause: error }), answer: null }
    }
  }

  async #message({
    method,
    key,
    query = {},
    headers = {},
    body = [],
    receive,
    signal,
    isSlow,
  }: S3Request): Promise<Message> {
    const bytes = body.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const { accessKeyId, secretAccessKey, sessionToken, region } = this.settings
    const signed = await new AwsV4Signer({
      method,
      url: this.#url(key, query).href,
      headers,
      service: 's3',
      accessKeyId,
      secretAccessKey,
      sessionToken,
      region,
      cache: this.#cache,
    }).sign()
    const idleMs = isSlow ? this.#patience.slowIdle : this.#patience.idle
    const sized = method === 'PUT' || method === 'POST' ? { 'content-length': String(bytes) } : undefined
    return {
      method,
      url: signed.url,
      headers: { ...Object.fromEntries(signed.headers), ...sized, 'user-agent': 'vmapipe' },
      body,
      idleMs,
      totalMs: 2 * idleMs + (bytes + LARGEST_READ) / LEAST_RATE,
      signal,
      receive,
    }
  }

  #url(key: string | undefined, query: Record<string, string>): URL {
    const { endpoint, pathStyle } = this.settings
    // A certificate for *.host does not cover a bucket with a point in its name.
    const inPath = pathStyle || (endpoint.protocol === 'https:' && this.bucket.includes('.'))
    const path = key === undefined ? '' : key.split('/').map(encodePart).join('/')
    const url = new URL(inPath ? `/${this.bucket}/${path}` : `/${path}`, endpoint)
    if (!inPath) url.host = `${this.bucket}.${endpoint.host}`
    url.search = Object.entries(query)
      .map(([name, value]) => `${encodePart(name)}=${encodePart(value)}`)
      .join('&')
    return url
  }
}

export interface ClientOptions {
  env?: Readonly<Record<string, string | undefined>>
  patience?: Partial<Patience>
  /** Takes one line for the user, when something is tried again for the first time. */
  warn?: (message: string) => void
}

/** The most bytes that are read by one request. */
export const LARGEST_READ = 16 << 20

/** Percent-encoding of all but the unreserved characters (RFC 3986, section 2.3), as the signature wants it. */
function encodePart(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Proxies are those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY. */
async function transportFor({ endpoint, ca }: S3Settings): Promise<Transport> {
  const common = { keepAlive: true, proxyEnv: process.env, scheduling: 'lifo' } as const
  if (endpoint.protocol === 'http:') {
    const { Agent, request } = await import('node:http')
    return { request, agent: new Agent(common) }
  }
  const { Agent, request } = await import('node:https')
  return { request, agent: new Agent({ ...common, ca }) }
}

/** Whether the same request may succeed later. */
export function mayPass(error: VmapipeError): boolean {
  if (error.code !== 'FAILED') return false
  if (error instanceof S3Error) {
    return error.status >= 500
      ? error.status !== 501
      : error.status === 429 || error.status === 408 || BUSY.has(error.reason)
  }
  const { code = '' } = (error.cause ?? {}) as NodeJS.ErrnoException
  // A certificate that is not trusted, or a name that does not exist, stays so.
  return !/CERT|ISSUER|SELF_SIGNED|ENOTFOUND|ERR_TLS|ERR_SSL|ERR_INVALID/.test(code)
}

function repeated(error: VmapipeError, attempts: number): VmapipeError {
  const message = `${error.message} (tried ${attempts} times)`
  if (!(error instanceof S3Error)) return new VmapipeError(error.code, message, { hint: error.hint, cause: error })
  const { status, reason, hint } = error
  return new S3Error(error.code, message, { status, reason, hint })
}
