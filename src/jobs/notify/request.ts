/**
 * Sends one HTTP request for a notification, again if it may help. No redirect is followed: a token would be sent to somebody else.
 * Messages of errors name the host and never the URL, which may be a secret.
 */

import type { ClientRequest, IncomingMessage } from 'node:http'
import type { RequestOptions } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { urlToHttpOptions } from 'node:url'
import { describe, printable, VmapipeError } from '../../core/errors.ts'

export interface Outgoing {
  url: URL
  method: 'POST' | 'PUT'
  headers: Record<string, string>
  body: string
  /** Certificates of the authorities that sign the server's; the usual ones unless given. */
  ca?: string | undefined
}

export interface SendOptions {
  signal?: AbortSignal | undefined
  /** Milliseconds for one attempt. */
  timeout?: number | undefined
  /** Milliseconds between two attempts; the second wait is three times as long. */
  pause?: number | undefined
}

const ATTEMPTS = 3
const TIMEOUT_MS = 10_000
const PAUSE_MS = 2000
/** A server that asks for more time than this is not waited for. */
const LONGEST_PAUSE_MS = 30_000
const LONGEST_ANSWER = 200

/** Resolves when the server has taken it. Throws FAILED with the reason; ABORTED if the signal was aborted. */
export async function send(
  outgoing: Outgoing,
  { signal, timeout = TIMEOUT_MS, pause = PAUSE_MS }: SendOptions = {},
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { problem, again, after } = await once(outgoing, timeout, signal)
    if (problem === undefined) return
    signal?.throwIfAborted()
    const wait = Math.max(pause * 3 ** (attempt - 1), after)
    if (!again || attempt === ATTEMPTS || wait > LONGEST_PAUSE_MS) {
      throw new VmapipeError('FAILED', problem, again ? {} : { hint: 'look at the address and the token' })
    }
    await sleep(wait, undefined, { ...(signal && { signal }) })
  }
}

interface Answer {
  problem?: string
  again: boolean
  /** Milliseconds that the server asks to wait. */
  after: number
}

async function once(
  { url, method, headers, body, ca }: Outgoing,
  timeout: number,
  signal?: AbortSignal,
): Promise<Answer> {
  const limit = AbortSignal.timeout(timeout)
  try {
    const response = await exchange(url, body, {
      method,
      headers: {
        'user-agent': 'vmapipe',
        'content-length': Buffer.byteLength(body),
        ...credentials(url),
        ...headers,
      },
      agent: false,
      ...(ca !== undefined && { ca }),
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
    })
    const status = response.statusCode!
    const text = await beginning(response)
    if (status >= 200 && status < 300) return { again: false, after: 0 }
    if (status >= 300 && status < 400) {
      const to = URL.parse(response.headers.location ?? '', url.href)?.origin ?? 'another place'
      const problem = `${url.host} redirects to ${printable(to)}; name the address that answers itself`
      return { problem, again: false, after: 0 }
    }
    return {
      problem: `${url.host} answers ${status}${text === '' ? '' : `: ${text}`}`,
      again: status === 408 || status === 429 || status >= 500,
      after: secondsOf(response.headers['retry-after']) * 1000,
    }
  } catch (error) {
    const problem = limit.aborted
      ? `does not answer within ${timeout / 1000} s`
      : describe(error as NodeJS.ErrnoException)
    return { problem: `${url.host}: ${printable(problem)}`, again: true, after: 0 }
  }
}

async function exchange(url: URL, body: string, options: RequestOptions): Promise<IncomingMessage> {
  const { request } = await import(url.protocol === 'https:' ? 'node:https' : 'node:http')
  return new Promise((resolve, reject) => {
    const sent: ClientRequest = request({ ...urlToHttpOptions(url), auth: undefined, ...options })
    sent.once('response', resolve)
    sent.once('error', reject)
    sent.end(body)
  })
}

/** The beginning of an answer, for a message; the rest is not read. */
async function beginning(response: IncomingMessage): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  for await (const part of response) {
    text += part
    if (text.length > LONGEST_ANSWER) break
  }
  return printable(text.replace(/\s+/g, ' ').trim().slice(0, LONGEST_ANSWER))
}

function secondsOf(text: string | undefined): number {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : 0
}

function credentials({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}
