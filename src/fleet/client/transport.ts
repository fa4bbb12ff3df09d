/**
 * Requests to a planner, by its unix socket or its URL. No redirect is followed, as a token would be sent to somebody else, and no token
 * goes over a network without TLS.
 */

import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import { VmapipeError } from '../../core/errors.ts'
import { isObject } from '../../protocol/json.ts'
import { parseJsonText } from '../messages/json-text.ts'
import { refusal } from '../messages/refusal.ts'
import { isLoopback } from '../server/listen-address.ts'
import { connectionError } from './errors.ts'

export type PlannerPlace =
  | { socket: string }
  | {
      url: string
      token: string
      /** PEM certificates of the authorities that sign the planner's; the usual ones unless given. */
      ca?: string
    }

export interface Asked {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Below the address of the planner, such as /people/v1/hosts. */
  path: string
  body?: unknown
  signal?: AbortSignal | undefined
  /** Milliseconds until the answer must have begun; a minute by default. */
  timeout?: number
}

/** The largest answer: 20,000 guests have about 10 MiB. */
const MOST_BYTES = 256 << 20
const TIMEOUT_MS = 60_000

const ERROR_CODES = ['USAGE', 'CONFIG', 'FAILED'] as const

export class Transport {
  readonly #place: PlannerPlace
  readonly #url: URL | null
  /** For messages. */
  readonly name: string

  /** Throws USAGE if the URL is none, or if the token would go over a network without TLS. */
  constructor(place: PlannerPlace) {
    this.#place = place
    this.#url = 'url' in place ? urlOf(place.url) : null
    this.name = 'url' in place ? this.#url!.origin : place.socket
  }

  /** The JSON that is answered; null for an answer without a body. Throws what the planner says, or what is between it and us. */
  async ask(asked: Asked): Promise<unknown> {
    const response = await this.open(asked)
    const bytes = await this.#read(response)
    if (response.statusCode === 204) return null
    return this.#parsed(bytes)
  }

  /** The answer, to be read as it comes. Throws what the planner refuses. */
  async open(asked: Asked): Promise<IncomingMessage> {
    const response = await this.#exchange(asked)
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    if (status >= 300 && status < 400) {
      response.destroy()
      throw new VmapipeError('FAILED', `${this.name} redirects elsewhere`, {
        hint: 'name the address of the planner itself',
      })
    }
    throw this.#refused(status, await this.#read(response))
  }

  async #exchange({ method, path, body, signal, timeout = TIMEOUT_MS }: Asked): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const options: RequestOptions & { ca?: string } = {
      method,
      agent: false,
      headers: {
        accept: 'application/json',
        'user-agent': 'vmapipe',
        ...(text !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        ...('token' in this.#place && { authorization: `Bearer ${this.#place.token}` }),
      },
      ...(signal && { signal }),
      ...this.#target(path),
    }
    const { request } = await import(this.#url?.protocol === 'https:' ? 'node:https' : 'node:http')
    return new Promise((resolve, reject) => {
      const sent: ClientRequest = request(options)
      const timer = setTimeout(
        () => sent.destroy(new VmapipeError('FAILED', `the planner at ${this.name} does not answer`)),
        timeout,
      )
      sent.once('response', (response) => {
        clearTimeout(timer)
        resolve(response)
      })
      sent.once('error', (error) => {
        clearTimeout(timer)
        reject(signal?.aborted ? signal.reason : connectionError(this.name, error, this.#url === null))
      })
      sent.end(text)
    })
  }

  #target(path: string): RequestOptions & { ca?: string } {
    if ('socket' in this.#place) return { socketPath: this.#place.socket, path }
    const { hostname, port, pathname } = this.#url!
    const { ca } = this.#place
    return {
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port,
      path: `${pathname.replace(/\/+$/, '')}${path}`,
      ...(ca !== undefined && { ca }),
    }
  }

  async #read(response: IncomingMessage): Promise<Buffer> {
    const parts: Buffer[] = []
    let length = 0
    try {
      for await (const part of response as AsyncIterable<Buffer>) {
        length += part.length
        if (length > MOST_BYTES) throw new VmapipeError('FAILED', `the answer of ${this.name} is too long to be one`)
        parts.push(part)
      }
    } catch (error) {
      throw connectionError(this.name, error as Error, this.#url === null)
    }
    return Buffer.concat(parts)
  }

  #parsed(bytes: Buffer): unknown {
    try {
      return parseJsonText(bytes)
    } catch (cause) {
      throw new VmapipeError('FAILED', `${this.name} is no planner: its answer is no JSON`, { cause })
    }
  }

  #refused(status: number, bytes: Buffer): VmapipeError {
    let value: unknown
    try {
      value = parseJsonText(bytes)
    } catch {}
    const said = refusal.safeParse(value)
    if (!said.success || !isObject(value))
      return new VmapipeError('FAILED', `${this.name} is no planner: it answers ${status}`, {
        hint: 'is the address right?',
      })
    const { error, hint, code } = said.data
    if (status === 401 || status === 403)
      return new VmapipeError('FAILED', `the planner at ${this.name} refuses the token: ${error}`, { hint })
    const known = ERROR_CODES.find((one) => one === code)
    return new VmapipeError(known ?? (status === 400 || status === 404 ? 'USAGE' : 'FAILED'), error, { hint })
  }
}

function urlOf(text: string): URL {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
    throw new VmapipeError('USAGE', `'${text}' is no address of a planner`, {
      hint: 'write it as https://planner.example:8460',
    })
  if (url.username !== '' || url.password !== '')
    throw new VmapipeError('USAGE', 'the address of a planner has no user and no password', {
      hint: 'a token is read from a file: --token-file FILE',
    })
  if (url.protocol === 'http:' && !isLoopback(url.hostname.replace(/^\[|\]$/g, '')))
    throw new VmapipeError('USAGE', `the token would go to ${url.host} unencrypted`, { hint: 'use https://' })
  return url
}
