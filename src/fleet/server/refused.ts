/** An answer that is not what was asked for, with its status of HTTP (messages/refusal.ts lists them). */

import { describe, VmapipeError } from '../../core/errors.ts'
import type { Refusal } from '../messages/refusal.ts'

interface Details {
  hint?: string
  /** Seconds. */
  retryAfter?: number
}

export class Refused extends Error {
  override name = 'Refused'
  readonly status: number
  readonly hint: string | undefined
  readonly retryAfter: number | undefined

  constructor(status: number, message: string, { hint, retryAfter }: Details = {}) {
    super(message)
    this.status = status
    this.hint = hint
    this.retryAfter = retryAfter
  }
}

/** The longest line that is answered: values of a message may be long. */
const LONGEST = 1000

/** What is answered for an error. `warn` is told of what is a mistake of ours. */
export function answerFor(error: unknown, warn: (line: string) => void): Response {
  const { status, body, retryAfter } = wordsOf(error, warn)
  return Response.json(body, {
    status,
    headers: {
      'Cache-Control': 'no-store',
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
      // The rest of the request is not read, and who has no token keeps no connection.
      ...([401, 403, 413, 415, 429].includes(status) && { Connection: 'close' }),
    },
  })
}

function wordsOf(
  error: unknown,
  warn: (line: string) => void,
): { status: number; body: Refusal; retryAfter?: number | undefined } {
  if (error instanceof Refused)
    return { status: error.status, body: bodyOf(error.message, error.hint), retryAfter: error.retryAfter }
  if (error instanceof VmapipeError) {
    const { code, message, hint } = error
    const status = code === 'USAGE' || code === 'CONFIG' ? 400 : 503
    return { status, body: { ...bodyOf(message, hint), code } }
  }
  warn(`a request was not answered because of a mistake in vmapipe: ${describe(error as Error)}`)
  return { status: 500, body: bodyOf('the planner made a mistake; its log says which') }
}

function bodyOf(error: string, hint?: string): Refusal {
  return { error: error.slice(0, LONGEST), ...(hint !== undefined && { hint: hint.slice(0, LONGEST) }) }
}
