/**
 * Speaks to the planner: requests of HTTP with JSON, on connections that stay open. What the planner says is not trusted: answers have a
 * largest size, a time and a form.
 */

import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { isIP } from 'node:net'
import * as z from 'zod'
import { withoutKeyFolders } from '../../codecs/age/shown-keys.ts'
import { describe, printable, VmapipeError } from '../../core/errors.ts'

/** The longest answer: the text of a job, or a thousand works. */
const MOST_ANSWER = 4 << 20
/** Characters of an error's text that are shown. */
const MOST_ERROR = 300

interface ClientOptions {
  url: string
  token: string
  ca?: string | undefined
  /** Milliseconds in which an answer comes. */
  answer: number
  /** Files with secret keys. What the planner is told is shown to all who may look, so it has their names alone. */
  keyFiles?: () => Iterable<string>
}

/** `isAway`: the planner was not reached, so it may be tried again. Otherwise it has refused the request. */
export class PlannerError extends VmapipeError {
  readonly isAway: boolean

  constructor(message: string, isAway: boolean, cause?: unknown) {
    super('FAILED', message, cause === undefined ? {} : { cause })
    this.isAway = isAway
  }
}

export class PlannerClient {
  readonly #url: URL
  readonly #headers: Record<string, string>
  readonly #agent: HttpAgent
  readonly #answer: number
  readonly #keyFiles: () => Iterable<string>

  /** Errors: USAGE for a URL that is none, or that would send the token in the clear. */
  constructor({ url, token, ca, answer, keyFiles = () => [] }: ClientOptions) {
    this.#url = plannerUrl(url)
    this.#headers = { authorization: `Bearer ${token}`, accept: 'application/json' }
    const keep = { keepAlive: true, maxSockets: 8 }
    this.#agent =
      this.#url.protocol === 'https:'
        ? new HttpsAgent({ ...keep, ...(ca !== undefined && { ca }) })
        : new HttpAgent(keep)
    this.#answer = answer
    this.#keyFiles = keyFiles
  }

  /** `wait`: milliseconds that the planner may take beside the usual. Errors: PlannerError, ABORTED. */
  async post<T extends z.ZodType>(
    path: string,
    body: unknown,
    form: T,
    options: { signal: AbortSignal; wait?: number },
  ): Promise<z.output<T>> {
    // Their names as JSON has them.
    const files = [...this.#keyFiles()].map((file) => JSON.stringify(file).slice(1, -1))
    return this.#ask('POST', path, withoutKeyFolders(JSON.stringify(body), files), form, options)
  }

  async get<T extends z.ZodType>(path: string, form: T, options: { signal: AbortSignal }): Promise<z.output<T>> {
    return this.#ask('GET', path, undefined, form, options)
  }

  close(): void {
    this.#agent.destroy()
  }

  async #ask<T extends z.ZodType>(
    method: string,
    path: string,
    body: string | undefined,
    form: T,
    { signal, wait = 0 }: { signal: AbortSignal; wait?: number },
  ): Promise<z.output<T>> {
    const limit = AbortSignal.timeout(this.#answer + wait)
    const both = AbortSignal.any([signal, limit])
    try {
      const { status, text } = await this.#send(method, path, body, both)
      if (status < 200 || status > 299) throw refusal(status, text)
      const read = form.safeParse(parsed(text))
      if (read.success) return read.data
      throw new PlannerError('the planner has answered what no planner of this version says', false)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof PlannerError) throw error
      const why = limit.aborted ? `no answer in ${(this.#answer + wait) / 1000} s` : describe(error as Error)
      throw new PlannerError(`the planner cannot be reached: ${why}`, true, error)
    }
  }

  #send(
    method: string,
    path: string,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<{ status: number; text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
    const send = this.#url.protocol === 'https:' ? requestHttps : requestHttp
    const headers = {
      ...this.#headers,
      ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    }
    const request = send(new URL(path, this.#url), { method, headers, agent: this.#agent, signal })
    request.on('error', reject)
    request.on('response', (response) => void textOf(response).then(resolve, reject))
    request.end(body)
    return promise
  }
}

async function textOf(response: IncomingMessage): Promise<{ status: number; text: string }> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of response as AsyncIterable<Buffer>) {
    size += piece.length
    if (size > MOST_ANSWER) {
      response.destroy()
      throw new PlannerError(`the planner has answered with more than ${MOST_ANSWER >> 20} MiB`, false)
    }
    pieces.push(piece)
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const errorForm = z.object({
  error: z.union([z.string(), z.object({ message: z.string() })]).optional(),
  message: z.string().optional(),
})

function refusal(status: number, text: string): PlannerError {
  const { data } = errorForm.safeParse(parsed(text))
  const said = typeof data?.error === 'object' ? data.error.message : (data?.error ?? data?.message ?? '')
  const why = said === '' ? '' : `: ${printable(said.slice(0, MOST_ERROR))}`
  if (status === 401 || status === 403) {
    return new PlannerError(`the planner does not take the token${why}; vmapipe fleet token makes another one`, false)
  }
  // A proxy answers like this if there is nobody behind it.
  return new PlannerError(`the planner has answered ${status}${why}`, status >= 500 || status === 429)
}

/** Reads the URL of a planner. Throws USAGE. */
export function plannerUrl(text: string): URL {
  const url = URL.parse(text)
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.username !== '') {
    throw new VmapipeError('USAGE', `'${printable(text)}' is no URL of a planner`, {
      hint: 'such as https://planner:8443',
    })
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new VmapipeError('USAGE', 'the token would be sent in the clear', {
      hint: `write https://${url.host}; plain http is for a planner on this host`,
    })
  }
  return url
}

function isLoopback(host: string): boolean {
  const plain = host.replace(/^\[|\]$/g, '')
  return plain === 'localhost' || plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}
