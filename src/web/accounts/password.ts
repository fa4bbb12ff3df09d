/**
 * Passwords, of which only a scrypt hash is kept. A check takes 128 MiB of memory and some tenths of a second on purpose, so few run at once.
 * It takes the same time if the account is not there.
 */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { totalmem } from 'node:os'
import { z } from 'zod'
import { VmapipeError } from '../../core/errors.ts'

/** Characters of a new password. */
export const SHORTEST_PASSWORD = 12
/** More would only cost time. */
const LONGEST_PASSWORD = 1024

const SALT_BYTES = 16
const KEY_BYTES = 32
/** Checks at once, and those that may wait for them. */
const AT_ONCE = 2
const MOST_WAITING = 16

export const PASSWORD_HASH = z.strictObject({
  kind: z.literal('scrypt'),
  /** The parameters of scrypt: cost, block size, and how often. */
  n: z
    .int()
    .min(2)
    .max(2 ** 20),
  r: z.int().min(1).max(32),
  p: z.int().min(1).max(16),
  salt: z.base64url(),
  key: z.base64url(),
})

/** A hash with all that is needed to check a password against it. */
export type PasswordHash = z.infer<typeof PASSWORD_HASH>

export interface ScryptCost {
  n: number
  r: number
  p: number
}

/** As OWASP advises: 128 MiB, or 32 MiB three times on a host with little memory. */
export function usualCost(memory = totalmem()): ScryptCost {
  return memory < 2 ** 30 ? { n: 2 ** 15, r: 8, p: 3 } : { n: 2 ** 17, r: 8, p: 1 }
}

/** Throws USAGE for a password that is too short or too long. */
export function checkNewPassword(password: string): void {
  const length = [...password].length
  if (length < SHORTEST_PASSWORD)
    throw new VmapipeError('USAGE', `a password has at least ${SHORTEST_PASSWORD} characters`)
  if (length > LONGEST_PASSWORD)
    throw new VmapipeError('USAGE', `a password has at most ${LONGEST_PASSWORD} characters`)
}

/** Hashes passwords and checks them, a few at once. */
export class Passwords {
  readonly #cost: ScryptCost
  readonly #waiting: (() => void)[] = []
  #running = 0
  #nobody: Promise<PasswordHash> | null = null

  constructor(cost: ScryptCost = usualCost()) {
    this.#cost = cost
  }

  async hash(password: string): Promise<PasswordHash> {
    const salt = randomBytes(SALT_BYTES)
    const key = await this.#derive(password, salt, this.#cost)
    return { kind: 'scrypt', ...this.#cost, salt: salt.toString('base64url'), key: key.toString('base64url') }
  }

  /** `hash` is null if there is no such account: then it is false, as late as with one. Throws FAILED if too many wait. */
  async check(password: string, hash: PasswordHash | null): Promise<boolean> {
    this.#nobody ??= this.hash(randomBytes(SALT_BYTES).toString('hex'))
    const { salt, key, n, r, p } = hash ?? (await this.#nobody)
    const expected = Buffer.from(key, 'base64url')
    // A longer one cannot be right; it takes the time of a hash nevertheless.
    const given = await this.#derive(password.slice(0, LONGEST_PASSWORD + 1), Buffer.from(salt, 'base64url'), {
      n,
      r,
      p,
    })
    return given.length === expected.length && timingSafeEqual(given, expected) && hash !== null
  }

  /** Makes the hash that is compared with if there is no account, so that the first check does not take twice as long. */
  async prepare(): Promise<void> {
    this.#nobody ??= this.hash(randomBytes(SALT_BYTES).toString('hex'))
    await this.#nobody
  }

  async #derive(password: string, salt: Buffer, { n, r, p }: ScryptCost): Promise<Buffer> {
    await this.#turn()
    try {
      // Unicode has several forms of one letter; keyboards differ in which they give.
      const text = password.normalize('NFKC')
      return await new Promise<Buffer>((resolve, reject) => {
        scrypt(text, salt, KEY_BYTES, { N: n, r, p, maxmem: 256 * n * r + 2 ** 20 }, (error, key) =>
          error ? reject(new VmapipeError('FAILED', 'the password cannot be checked', { cause: error })) : resolve(key),
        )
      })
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  async #turn(): Promise<void> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= MOST_WAITING)
        throw new VmapipeError('FAILED', 'too many passwords are being checked', { hint: 'try again in a few seconds' })
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    this.#running++
  }
}
