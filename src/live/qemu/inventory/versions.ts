/** What can be relied on in each version of QEMU. */

import type { QmpVersion } from '../../../protocol/qmp/client.ts'

/** Seconds; below 9.1 QEMU keeps the nanoseconds of this timeout in 32 bits, and 5 s become 0.7 s. */
const LONGEST_TIMEOUT_32 = 4

/**
 * Seconds after which QEMU gives the point in time up rather than let a guest's write wait, if a write may wait `maxStall` ms. Longer
 * than that if possible, so that this process gives up first and says why.
 */
export function copyTimeout({ major, minor }: QmpVersion, maxStall: number): number {
  const seconds = Math.ceil(maxStall / 1000) + 1
  const isWide = major > 9 || (major === 9 && minor >= 1)
  return isWide ? seconds : Math.min(LONGEST_TIMEOUT_32, seconds)
}

/** Milliseconds that we let a push wait: less than QEMU does. */
export function pushLimit(timeout: number, maxStall: number): number {
  return Math.min(maxStall, timeout * 1000 - 200)
}

/** In words, if that is less than what was asked for. */
export function stallIsCut({ major, minor }: QmpVersion, limit: number): string {
  return `QEMU ${major}.${minor} lets a write of the guest wait for ${limit / 1000} s at most (9.1 and later as long as --max-stall says)`
}
