/**
 * Sends one HTTP request and receives its answer. Everything is bounded: how long nothing may come, how long all may take, and how
 * many bytes the answer has. Redirects are not followed: they would carry credentials to where the store says.
 */

import type * as http from 'node:http'
import type { Agent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Bell } from '../../../core/bell.ts'
import { VmapipeError } from '../../../core/errors.ts'

/** Loaded if needed: TLS takes a while to load. */
export interface Transport {
  request: typeof http.request
  agent: Agent
}

export interface Message {
  method: string
  url: URL
  headers: Record<string, string>
  body?: readonly Uint8Array[]
  /** The longest time without a byte in either direction. */
  idleMs: number
  /** The longest time of all. */
  totalMs: number
  signal?: AbortSignal
  /** Takes the bytes of the answer if it returns a function; else they are collected. It may throw. */
  receive?(answer: Pick<Answer, 'status' | 'headers'>): ((bytes: Buffer) => void) | null
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/** The most bytes of an answer that is collected. A page of 1000 uploads with long names has 1.5 MiB. */
const LARGEST_ANSWER = 4 << 20

/** Bytes that are given to the socket at once. TLS makes a copy of them. */
const AT_ONCE = 256 << 10

/** Resolves when the answer is complete. When it settles, nothing uses the body's memory any more. */
export async function exchange({ request, agent }: Transport, message: Message): Promise<Answer> {
  const { method, url, headers, body = [], idleMs, totalMs, signal } = message
  signal?.throwIfAborted()
  const sent = request(url, { method, headers, agent, timeout: idleMs })
  const closed = new Promise<void>((resolve) => sent.once('close', resolve))
  let failure: unknown = null
  const fail = (error: unknown) => {
    failure ??= error
    sent.destroy()
  }
  sent.on('error', fail)
  sent.on('timeout', () => fail(new VmapipeError('FAILED', `nothing came for ${Math.round(idleMs / 1000)} seconds`)))
  const late = setTimeout(() => fail(new VmapipeError('FAILED', 'the answer took too long')), totalMs)
  const onAbort = () => fail(signal!.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  let answer: Answer | null = null
  const received = new Promise<void>((resolve) => {
    sent.once('close', resolve)
    sent.once('response', (response) => {
      sent.off('close', resolve)
      const ended = collect(response, message).then((complete) => {
        answer = complete
        // A store that answers before it has all bytes has refused them.
        if (!sent.writableFinished) sent.destroy()
      }, fail)
      void ended.then(resolve)
    })
  })
  try {
    await Promise.race([send(sent, body), received])
    await received
  } catch (error) {
    fail(error)
  } finally {
    clearTimeout(late)
    signal?.removeEventListener('abort', onAbort)
    await closed
  }
  if (answer !== null) return answer
  throw failure ?? new VmapipeError('FAILED', 'the connection was closed before the answer was complete')
}

async function send(sent: ClientRequest, body: readonly Uint8Array[]): Promise<void> {
  const bell = new Bell()
  sent.on('drain', () => bell.ring())
  sent.on('close', () => bell.ring())
  for (const buffer of body) {
    for (let at = 0; at < buffer.byteLength && !sent.destroyed; at += AT_ONCE) {
      if (!sent.write(buffer.subarray(at, at + AT_ONCE)) && !sent.destroyed) await bell.next()
    }
  }
  sent.end()
}

async function collect(response: IncomingMessage, { receive }: Message): Promise<Answer> {
  const { statusCode: status = 0, headers } = response
  const consume = receive?.({ status, headers }) ?? null
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of response as AsyncIterable<Buffer>) {
    if (consume !== null) {
      consume(piece)
      continue
    }
    length += piece.byteLength
    if (length > LARGEST_ANSWER) throw new VmapipeError('FAILED', 'the answer of the store has no end')
    pieces.push(piece)
  }
  return { status, headers, body: Buffer.concat(pieces) }
}
