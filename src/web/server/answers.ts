/** Reads what was asked, and makes answers: JSON, and errors as one line for people. */

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { z } from 'zod'
import { VmapipeError } from '../../core/errors.ts'
import type { ApiError } from '../api.ts'
import { packRows } from './packed-rows.ts'
import { accepts } from './static-files.ts'
import type { WebContext } from './web.ts'

/** Bytes of a body: a start with thousands of guests is the largest. */
const MOST_BODY = 1024 * 1024
/** Of those who are not signed in. */
const MOST_STRANGER_BODY = 16 * 1024
/** JSON of this many bytes or more is compressed. */
const LEAST_BYTES = 4096

/** Ends a request with a status. */
export class Refusal extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string | undefined
  readonly headers: Record<string, string>

  constructor(
    status: number,
    code: string,
    message: string,
    { hint, ...headers }: { hint?: string; [header: string]: string | undefined } = {},
  ) {
    super(message)
    this.status = status
    this.code = code
    this.hint = hint
    this.headers = headers as Record<string, string>
  }
}

export function tooOften(seconds: number, what = 'too many requests'): Refusal {
  const hint = `wait ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`
  return new Refusal(429, 'TOO_OFTEN', what, { hint, 'retry-after': String(seconds) })
}

/** Lists of so many rows are compressed in parts. */
const MANY_ROWS = 1000

/** Rows that a house gives are not changed afterwards. */
export async function json(c: WebContext, value: unknown): Promise<Response> {
  const isPacked = accepts(c.req.header('accept-encoding') ?? '', 'gzip')
  const headers = new Headers({ 'content-type': 'application/json; charset=utf-8', vary: 'accept-encoding' })
  const isLong = isPacked && Array.isArray(value) && value.length >= MANY_ROWS
  const text = isLong ? '' : JSON.stringify(value)
  if (!isLong && (text.length < LEAST_BYTES || !isPacked)) return new Response(text, { headers })
  headers.set('content-encoding', 'gzip')
  // Quick rather than small: the answer is made for one look.
  const body = isLong ? await packRows(value) : new Uint8Array(await promisify(gzip)(text, { level: 1 }))
  headers.set('content-length', String(body.byteLength))
  return new Response(body, { headers })
}

/** The body, checked. Throws USAGE. */
export async function bodyOf<T>(c: WebContext, schema: z.ZodType<T>): Promise<T> {
  let value: unknown
  try {
    value = JSON.parse(await textOf(c))
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new VmapipeError('USAGE', 'the body is no JSON')
  }
  return checked(schema, value)
}

/** No more is read than is allowed, whatever the length is said to be. */
async function textOf(c: WebContext): Promise<string> {
  const most = c.get('asker').session === null ? MOST_STRANGER_BODY : MOST_BODY
  const tooLarge = () => new Refusal(413, 'TOO_LARGE', 'the request is too large')
  if (Number(c.req.header('content-length') ?? 0) > most) throw tooLarge()
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of c.req.raw.body ?? []) {
    length += piece.length
    if (length > most) throw tooLarge()
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

/** The parameters of the query, checked; each may be given once. Throws USAGE. */
export function queryOf<T>(c: WebContext, schema: z.ZodType<T>): T {
  const given = c.req.queries()
  const twice = Object.entries(given).find(([, values]) => values.length > 1)
  if (twice !== undefined) throw new VmapipeError('USAGE', `'${twice[0]}' is given twice`)
  return checked(schema, Object.fromEntries(Object.entries(given).map(([name, [value]]) => [name, value])))
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [{ path, message }] = error.issues
  const where = path.length > 0 ? `'${path.join('.')}': ` : ''
  throw new VmapipeError('USAGE', `${where}${message}`)
}

/** What the browser is told of an error. Of one that nobody expected it learns nothing: `warn` does. */
export function errorResponse(error: unknown, warn: (message: string) => void): Response {
  const { status, headers, ...body } = asAnswer(error, warn)
  return new Response(JSON.stringify(body satisfies ApiError), {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  })
}

function asAnswer(
  error: unknown,
  warn: (message: string) => void,
): ApiError & { status: number; headers?: Record<string, string> } {
  if (error instanceof Refusal) {
    const { status, code, message, hint, headers } = error
    return { status, headers, error: { code, message, ...(hint !== undefined && { hint }) } }
  }
  if (error instanceof VmapipeError) {
    const { code, message, hint } = error
    const status = code === 'USAGE' || code === 'CONFIG' ? 400 : code === 'ABORTED' ? 503 : 502
    return { status, error: { code, message: message.slice(0, 1000), ...(hint !== undefined && { hint }) } }
  }
  warn(`a request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  return { status: 500, error: { code: 'INTERNAL', message: 'something went wrong; the log of the server has more' } }
}
