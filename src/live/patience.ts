/** Limits how long a trim waits for copies. A trim need not be carried out, so it never makes a backup give up. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { DriveCopy } from './drive-copy.ts'
import type { Wait } from './waiting.ts'

/** The part of `maxStall` that a trim may wait. */
const PART = 1 / 4

export class Patience {
  readonly #since: number | undefined
  readonly #enough = new AbortController()
  #copy: DriveCopy | null = null
  #wait: Wait | null = null
  #timeout: Promise<null> | null = null

  /** `since`: the request has been waiting since then. */
  constructor(since: number | undefined) {
    this.#since = since
  }

  /** Calls `secureSome` of the DriveCopy; null if that takes too long. */
  async secureSome(copy: DriveCopy, first: number, last: number): Promise<number | null> {
    if (copy !== this.#copy) {
      this.#wait?.end()
      this.#wait = copy.waits(this.#copy === null ? this.#since : undefined)
      this.#copy = copy
      const timing = { signal: this.#enough.signal, ref: false }
      this.#timeout ??= sleep(copy.maxStall * PART, null, timing).catch(() => null)
    } else this.#wait?.resume()
    const done = await Promise.race([copy.secureSome(first, last), this.#timeout!])
    this.#wait?.pause()
    return done
  }

  end(): void {
    this.#enough.abort()
    this.#wait?.end()
  }
}
