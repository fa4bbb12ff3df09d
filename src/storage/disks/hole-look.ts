/**
 * Looks for holes of a file that a guest writes to at the same time. It does so in the calling thread if that takes a microsecond, and
 * in another one if the kernel may block the caller.
 */

import { isHole, isHoleAsync } from '../holes.ts'

/** If a call takes 2 ms or more, it was blocked. For the next second, looks then go to another thread. */
const LONG_MS = 2
const SHUNNED_MS = 1000

/** The most zeroes and trims of all disks at once. Each takes a thread of libuv's pool, which has four by default, and reads need one. */
const MOST_ZEROING = 3
let zeroing = 0
const queue: (() => void)[] = []

export class HoleLook {
  readonly #fd: number
  readonly #isRemote: boolean
  #zeroing = 0
  #shunnedUntil = 0

  /** `isRemote`: the kernel must ask a server or another process. */
  constructor(fd: number, isRemote: boolean) {
    this.#fd = fd
    this.#isRemote = isRemote
  }

  /** Runs a zero or trim when it is its turn. Meanwhile the kernel may block other calls for the file. */
  async duringZeroing<T>(work: () => Promise<T>): Promise<T> {
    if (zeroing >= MOST_ZEROING) await new Promise<void>((go) => queue.push(go))
    else zeroing++
    this.#zeroing++
    try {
      return await work()
    } finally {
      this.#zeroing--
      const next = queue.shift()
      if (next === undefined) zeroing--
      else next()
    }
  }

  isHole(offset: number, length: number): boolean | Promise<boolean> {
    const before = performance.now()
    if (this.#isRemote || this.#zeroing > 0 || before < this.#shunnedUntil) return isHoleAsync(this.#fd, offset, length)
    const hole = isHole(this.#fd, offset, length)
    const now = performance.now()
    if (now - before > LONG_MS) this.#shunnedUntil = now + SHUNNED_MS
    return hole
  }
}
