/**
 * Looks for holes of a file that a guest writes to at the same time: in the calling thread if that takes a microsecond, in
 * another one if the kernel may keep the caller waiting.
 */

import { isHole, isHoleAsync } from '../holes.ts'

/** A call that takes so many milliseconds has waited for something: for the next second others look in another thread. */
const LONG_MS = 2
const SHUNNED_MS = 1000

/** Zeroes and trims of all disks that are carried out at once: each keeps a thread of libuv's pool busy, and reads need some too. */
const MOST_ZEROING = 3
let zeroing = 0
const queue: (() => void)[] = []

export class HoleLook {
  readonly #fd: number
  readonly #isRemote: boolean
  #zeroing = 0
  #shunnedUntil = 0

  /** `isRemote`: the kernel has to ask a server or another process. */
  constructor(fd: number, isRemote: boolean) {
    this.#fd = fd
    this.#isRemote = isRemote
  }

  /** Zeroes are written or space is given back, when it is its turn: the kernel keeps other calls for the file waiting then. */
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
