/** Who asks: the token of each request, and how much one may ask at once. */

import type { HttpBindings } from '@hono/node-server'
import type { Context, MiddlewareHandler } from 'hono'
import type { TokenRow, TokenSide } from '../fleet.ts'
import { Refused } from './refused.ts'
import { WrongTokens } from './wrong-tokens.ts'

/** What the routes know of a request. */
export interface Env {
  Bindings: HttpBindings & {
    /** It came by the unix socket, so it is of the user who runs the planner. */
    isOwner?: boolean
  }
  Variables: {
    /** The host of an agent's token, or the name of a person. */
    name: string
    /** What identifies the sender: the id of its token. */
    sender: string
  }
}

/** Requests of one token at once: an agent has a long poll, a heartbeat and messages, also those of a connection that has just broken. */
const MOST_AT_ONCE = 16

const LONGEST_TOKEN = 500

export class Gate {
  readonly #tokens: Pick<TokenSide, 'check'>
  readonly #wrong: WrongTokens
  readonly #inFlight = new Map<string, number>()

  constructor(tokens: Pick<TokenSide, 'check'>, wrong = new WrongTokens()) {
    this.#tokens = tokens
    this.#wrong = wrong
  }

  /** Lets those in who have a token of this kind; people also by the socket, without one. */
  for(kind: TokenRow['kind']): MiddlewareHandler<Env> {
    return async (context, next) => {
      if (kind === 'person' && context.env.isOwner === true) {
        context.set('name', 'the owner of the socket')
        context.set('sender', 'socket')
        return next()
      }
      const token = await this.#tokenOf(context)
      if (token.kind !== kind)
        throw new Refused(403, `this token is for ${token.kind === 'agent' ? 'an agent' : 'people'}`, {
          hint:
            kind === 'person'
              ? 'make one for people: vmapipe fleet token new NAME --person'
              : 'make one for the host: vmapipe fleet token new HOST',
        })
      context.set('name', token.name)
      context.set('sender', token.id)
      await this.#counted(token.id, next)
    }
  }

  async #tokenOf(context: Context<Env>): Promise<TokenRow> {
    const address = context.env.incoming.socket.remoteAddress ?? 'socket'
    const header = context.env.incoming.headers.authorization ?? ''
    const text = (/^Bearer +(\S+) *$/i.exec(header)?.[1] ?? '').slice(0, LONGEST_TOKEN)
    const wait = this.#wrong.wait(address, text)
    if (wait > 0)
      throw new Refused(429, 'too many wrong tokens from this address', {
        hint: `try again in ${wait} s`,
        retryAfter: wait,
      })
    // Whatever the text is, it is checked in the same way, so that the time of the answer tells nothing of tokens that there are.
    const token = await this.#tokens.check(text)
    if (token !== null) {
      this.#wrong.right(address, text)
      return token
    }
    this.#wrong.wrong(address, text)
    throw header === ''
      ? new Refused(401, 'a token is needed', { hint: 'send it as Authorization: Bearer TOKEN' })
      : new Refused(401, 'this token is not valid here', { hint: 'it may have been revoked; make another one' })
  }

  async #counted(id: string, next: () => Promise<void>): Promise<void> {
    const before = this.#inFlight.get(id) ?? 0
    if (before >= MOST_AT_ONCE)
      throw new Refused(429, 'too many requests at once with this token', { hint: 'try again', retryAfter: 1 })
    this.#inFlight.set(id, before + 1)
    try {
      await next()
    } finally {
      const left = this.#inFlight.get(id)! - 1
      if (left === 0) this.#inFlight.delete(id)
      else this.#inFlight.set(id, left)
    }
  }
}
