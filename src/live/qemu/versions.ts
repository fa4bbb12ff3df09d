/** What can be relied on in which QEMU. */

import type { QmpVersion } from '../../protocol/qmp/client.ts'

/** Seconds; below 9.1 QEMU keeps the nanoseconds of this timeout in 32 bits, and 5 s become 0.7 s. */
const LONGEST_TIMEOUT_32 = 4

/** The seconds that a copy may take before QEMU gives the point in time up, for a guest's write that may wait `maxStall` ms. */
export function copyTimeout({ major, minor }: QmpVersion, maxStall: number): number {
  const seconds = Math.max(1, Math.ceil(maxStall / 1000))
  const isWide = major > 9 || (major === 9 && minor >= 1)
  return isWide ? seconds : Math.min(LONGEST_TIMEOUT_32, seconds)
}

/** Milliseconds that we let a push wait: less than QEMU does, so that it is we who say why. */
export function pushLimit(timeout: number, maxStall: number): number {
  return Math.min(maxStall, timeout * 1000 - 200)
}
