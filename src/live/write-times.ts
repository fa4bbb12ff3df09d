/** How long the writes of a guest take, as its disk server or its QEMU counts them: what shows whether a backup slows the guest down. */

import type { ServiceStatus } from './control/controlled-service.ts'

/** All writes since the server or the QEMU began. Two of these tell the mean of the time between them. */
export interface WriteTimes {
  writes: number
  /** Milliseconds that all of them took together. */
  milliseconds: number
}

/** Null for a service that is older, and does not count it. */
export function writeTimesOf({ nbd }: Pick<ServiceStatus, 'nbd'>): WriteTimes | null {
  const { timedWrites: writes, writeMilliseconds: milliseconds } = nbd
  return typeof writes === 'number' && typeof milliseconds === 'number' ? { writes, milliseconds } : null
}
