/**
 * Slows down those who try tokens. Tokens are too long to be guessed; the limit keeps such attempts, and agents with a token that was
 * revoked, from making much work and many lines in logs.
 */

import { hash } from 'node:crypto'

/** Wrong tokens in a row from one address; then one more after each EACH_MS. */
const MOST = 10
const EACH_MS = 6000
/** Addresses, and tokens, that are remembered: an address can be made up, so there may be any number. */
const MOST_KNOWN = 10_000

export class WrongTokens {
  readonly #clock: () => number
  /** When the address will have no wrong tokens on its account any more. */
  readonly #until = new Map<string, number>()
  /** Hashes of tokens that were right, by their addresses: many agents may share an address, and one with a wrong token must not lock out the others. */
  readonly #right = new Map<string, true>()

  constructor(clock: () => number = Date.now) {
    this.#clock = clock
  }

  /** Seconds until this token may be tried from there; 0 if it may now. */
  wait(address: string, token: string): number {
    if (this.#right.has(keyOf(address, token))) return 0
    const ahead = (this.#until.get(address) ?? 0) - this.#clock() - (MOST - 1) * EACH_MS
    return Math.max(0, Math.ceil(ahead / 1000))
  }

  right(address: string, token: string): void {
    remember(this.#right, keyOf(address, token), true)
  }

  wrong(address: string, token: string): void {
    this.#right.delete(keyOf(address, token))
    const now = this.#clock()
    remember(this.#until, address, Math.max(this.#until.get(address) ?? 0, now) + EACH_MS)
  }
}

function keyOf(address: string, token: string): string {
  return `${address} ${hash('sha256', token, 'base64')}`
}

/** Puts it at the end; the longest unused one goes if there are too many. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > MOST_KNOWN) map.delete(map.keys().next().value!)
}
