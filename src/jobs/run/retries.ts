/** How often what failed is tried again. */

import type { VmapipeError } from '../../core/errors.ts'
import type { Job } from '../file/schema.ts'

const DEFAULT_RETRIES = 2
const DEFAULT_DELAY_MS = 300_000

/** `delay`: milliseconds. */
export function retriesOf({ retry: { count = DEFAULT_RETRIES, delay = DEFAULT_DELAY_MS } = {} }: Job): {
  count: number
  delay: number
} {
  return { count, delay }
}

/** Whether the error stays: trying again would end the same way. */
export function isLasting({ code }: Pick<VmapipeError, 'code'>): boolean {
  return code === 'USAGE' || code === 'CONFIG' || code === 'STAGE' || code === 'ABORTED'
}
