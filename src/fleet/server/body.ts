/** Reads the body of a request, within a limit, and checks it by the schema of its message. */

import type { IncomingMessage } from 'node:http'
import type * as z from 'zod'
import { pathText } from '../../config/document.ts'
import { VmapipeError } from '../../core/errors.ts'
import { problemsOf } from '../../core/problems.ts'
import { parseJsonText } from '../messages/json-text.ts'
import { Refused } from './refused.ts'

/** The usual message. */
export const USUAL_BYTES = 1 << 20
/** An inventory of 20,000 guests has about 8 MiB, and as much is left for long names. */
export const LARGE_BYTES = 32 << 20

/** Bodies of all requests that are in memory at once, and those of one sender. Who finds no room is told to come again. */
const MOST_AT_ONCE = 256 << 20
const MOST_OF_ONE = 40 << 20

/** Room for the bodies of requests, shared by all of a server. */
export class BodyRoom {
  #taken = 0
  readonly #takenBy = new Map<string, number>()

  /** Reads the body, which may have `most` bytes, and gives what `use` makes of it. Then its room is free again. */
  async read<T>(incoming: IncomingMessage, sender: string, most: number, use: (bytes: Buffer) => T): Promise<T> {
    const encoding = incoming.headers['content-encoding'] ?? 'identity'
    if (encoding !== 'identity')
      throw new Refused(415, 'the body is compressed', {
        hint: 'send it as it is: a small one could become very large',
      })
    if (Number(incoming.headers['content-length'] ?? 0) > most) throw tooLong(most)
    const parts: Buffer[] = []
    let length = 0
    try {
      await allOf(incoming, (part) => {
        length += part.length
        this.#take(sender, part.length)
        if (length > most) throw tooLong(most)
        parts.push(part)
      })
      return use(parts.length === 1 ? parts[0] : Buffer.concat(parts, length))
    } catch (error) {
      // The client went away in the middle, or its message has a wrong form.
      throw error instanceof Refused || error instanceof VmapipeError ? error : new Refused(400, 'the body broke off')
    } finally {
      this.#take(sender, -length)
    }
  }

  #take(sender: string, bytes: number): void {
    const own = (this.#takenBy.get(sender) ?? 0) + bytes
    this.#taken += bytes
    if (own === 0) this.#takenBy.delete(sender)
    else this.#takenBy.set(sender, own)
    if (bytes > 0 && (this.#taken > MOST_AT_ONCE || own > MOST_OF_ONE))
      throw new Refused(503, 'too many long messages at once', { hint: 'try again', retryAfter: 5 })
  }
}

/**
 * Gives all parts of a body to `take`, whose error ends it. The connection stays open for the answer, also if the rest is not read. Listeners
 * take a third of what an iterator takes, and a hundred heartbeats a second are read.
 */
function allOf(incoming: IncomingMessage, take: (part: Buffer) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (incoming.destroyed) reject(new Error('closed'))
  const onData = (part: Buffer) => {
    try {
      take(part)
    } catch (error) {
      incoming.pause()
      reject(error)
    }
  }
  // It is closed after its end, too.
  const onClose = () => incoming.readableEnded || reject(new Error('closed'))
  incoming.on('data', onData).on('end', resolve).on('error', reject).on('close', onClose)
  return promise.finally(() =>
    incoming.off('data', onData).off('end', resolve).off('error', reject).off('close', onClose),
  )
}

function tooLong(most: number): Refused {
  return new Refused(413, `the message has more than ${most} bytes`)
}

/** What a message says. Throws USAGE with one line of what is wrong with it. */
export function parseMessage<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  return checkMessage(schema, parseJsonText(bytes))
}

export function checkMessage<T>(schema: z.ZodType<T>, value: unknown): T {
  const checked = schema.safeParse(value)
  if (checked.success) return checked.data
  const [{ path, message }] = problemsOf(checked.error, value, () => [])
  throw new VmapipeError('USAGE', path.length === 0 ? message : `${pathText(path)}: ${message}`)
}
