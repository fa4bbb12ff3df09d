/**
 * Looks for holes of a file that a guest writes to at the same time: in the calling thread if that takes a microsecond, in
 * another one if the kernel may keep the caller waiting.
 */

import { isHole, isHoleAsync } from '../holes.ts'

/** A call that takes so many milliseconds has waited for something: for the next second others look in another thread. */
const LONG_MS = 2
const SHUNNED_MS = 1000

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

  /** While zeroes are written or space is given back, the kernel keeps other calls for the file waiting. */
  async duringZeroing<T>(work: () => Promise<T>): Promise<T> {
    this.#zeroing++
    try {
      return await work()
    } finally {
      this.#zeroing--
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
