/** How often something may be done, by address, account or session. What is remembered is bounded, however many ask. */

import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'

const MOST_KEYS = 20_000

export interface BucketOptions {
  /** So many at once. */
  amount: number
  /** Milliseconds in which an empty bucket is full again. */
  per: number
}

/**
 * The clock without its steps back. If the host's clock was a year ahead and is set right, nobody must wait for that year. A step forward only
 * ends what somebody waits for.
 */
export function steady(now: () => number): () => number {
  let last = now()
  let ahead = 0
  return () => {
    const told = now() + ahead
    if (told < last) ahead += last - told
    last = Math.max(last, told)
    return last
  }
}

/** A token bucket for each key. */
export class Buckets {
  readonly #amount: number
  readonly #per: number
  readonly #now: () => number
  readonly #known = new LRUCache<string, { left: number; at: number }>({ max: MOST_KEYS })

  constructor({ amount, per }: BucketOptions, now: () => number) {
    this.#amount = amount
    this.#per = per
    this.#now = now
  }

  /** Takes one. Returns 0, or the seconds to wait if there is none. */
  take(key: string): number {
    const now = this.#now()
    const { left, at } = this.#known.get(key) ?? { left: this.#amount, at: now }
    const filled = Math.min(this.#amount, left + (Math.max(0, now - at) * this.#amount) / this.#per)
    if (filled < 1) return Math.max(1, Math.ceil(((1 - filled) * this.#per) / this.#amount / 1000))
    this.#known.set(key, { left: filled - 1, at: now })
    return 0
  }

  /** Gives one back. */
  give(key: string): void {
    const known = this.#known.get(key)
    if (known !== undefined) known.left = Math.min(this.#amount, known.left + 1)
  }
}

/** Failures that cost nothing. */
const FREE_FAILURES = 5
const FIRST_WAIT_SECONDS = 5
const LONGEST_WAIT_SECONDS = 15 * 60
/** Failures are forgotten after this time without another. */
const FORGET_MS = 24 * 3600_000

/** After some failures in a row, each further one doubles the time before the next attempt. */
export class Backoff {
  readonly #now: () => number
  readonly #known: LRUCache<string, { failures: number; until: number; at: number }>

  constructor(now: () => number) {
    this.#now = now
    this.#known = new LRUCache({ max: MOST_KEYS })
  }

  /** Seconds to wait before the next attempt; 0 for none. */
  wait(key: string): number {
    return Math.max(0, Math.ceil(((this.#known.get(key)?.until ?? 0) - this.#now()) / 1000))
  }

  failed(key: string): void {
    const now = this.#now()
    const known = this.#known.get(key)
    const failures = (known !== undefined && now - known.at < FORGET_MS ? known.failures : 0) + 1
    const beyond = failures - FREE_FAILURES
    const wait = beyond < 0 ? 0 : Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** Math.min(beyond, 20))
    this.#known.set(key, { failures, until: now + wait * 1000, at: now })
  }

  succeeded(key: string): void {
    this.#known.delete(key)
  }
}

/** Counts what is open at once, by key. */
export class OpenCount {
  readonly #most: number
  readonly #known = new Map<string, number>()

  constructor(most: number) {
    this.#most = most
  }

  /** Returns what gives the place back; null if there is none. */
  enter(key: string): (() => void) | null {
    const open = this.#known.get(key) ?? 0
    if (open >= this.#most) return null
    this.#known.set(key, open + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      const left = (this.#known.get(key) ?? 1) - 1
      if (left <= 0) this.#known.delete(key)
      else this.#known.set(key, left)
    }
  }
}

/** Somebody with IPv6 has at least 2^64 addresses: those count as one. */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address
  const [head, tail] = address.split('%')[0].split('::')
  const groups = (part: string | undefined) => (part ? part.split(':') : [])
  const left = groups(head)
  const right = groups(tail)
  const all = [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
