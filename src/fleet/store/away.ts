/** Tells errors of a connection from those of a statement: if the database is away, it is asked again later; a wrong statement stays wrong. */

import { VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'

const SYSTEM = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EAI_AGAIN',
  'ENOTFOUND',
])

/** Classes of PostgreSQL's error codes: 08 is the connection; 57P01 to 57P05 are a server that shuts down, crashes or starts; 53300 is too many connections. */
const SERVER = /^(08...|57P0[1-5]|53300|25006)$/

const TEXTS =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|timeout expired|Query read timeout|The server does not support SSL|terminating connection)/i

export function isAwayError(error: unknown): boolean {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException
  if (error instanceof AggregateError && error.errors.some(isAwayError)) return true
  if (code !== undefined && (SYSTEM.has(code) || SERVER.test(code))) return true
  return code === undefined && TEXTS.test(message ?? '')
}

const AWAY = 'the database is away'
/** Between two attempts, in milliseconds; the database itself looks with longer pauses whether it is back. */
const AGAIN_MS = 250

/** Does what may be done twice until the database was there for all of it. */
export async function untilThere<T>(body: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await body()
    } catch (error) {
      if ((error as Error).message !== AWAY || signal.aborted) throw error
      await sleepUntilAborted(AGAIN_MS, signal)
    }
  }
}

/** What callers get. The agents and the page ask again later. */
export function awayError(cause?: unknown): VmapipeError {
  return new VmapipeError('FAILED', AWAY, { cause })
}
