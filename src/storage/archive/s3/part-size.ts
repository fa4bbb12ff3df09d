/** How large the parts of an upload are, and how many are in memory at once. A store takes 10,000 parts of an object. */

import { Budget } from '../../../core/budget.ts'
import { VmapipeError } from '../../../core/errors.ts'
import { DEFAULT_BUDGET } from '../../../core/run-options.ts'
import { formatBytes } from '../../../core/size.ts'

/** Limits of S3: "Amazon S3 multipart upload limits". */
export const MOST_PARTS = 10_000
const SMALLEST_PART = 5 << 20
const LARGEST_PART = 5 * 2 ** 30

/** Of an archive that is smaller than 80 GiB. Small parts are soon repeated and need little memory. */
const USUAL_PART = 8 << 20

/** Parts that are sent at once, if the memory is enough. */
const MOST_AT_ONCE = 4

const MIB = 1 << 20

export interface PartMemory {
  budget: Budget
  partBytes: number
  /** Parts that are in memory at once. */
  count: number
}

interface Wanted {
  /** The budget of the run; undefined if the object is small. */
  budget: Budget | undefined
  /** The most bytes that are expected; 0 if that is not known. */
  expected: number
  warn: (message: string) => void
}

/**
 * Takes the memory for parts: at most half of what is left of the budget. Parts for very large drives do not fit there. Their memory comes
 * on top if the user has set no --buffer, and is said; else it throws USAGE.
 */
export function partMemory({ budget, expected, warn }: Wanted): PartMemory {
  if (budget === undefined) return { budget: new Budget(SMALLEST_PART), partBytes: SMALLEST_PART, count: 1 }
  const share = Math.floor(budget.capacity / 2)
  const least = leastPart(expected)
  if (least > LARGEST_PART) {
    throw new VmapipeError('USAGE', `drives of ${formatBytes(expected)} do not fit into one object of a store`, {
      hint: 'back up fewer drives into one archive',
    })
  }
  const usual = Math.max(SMALLEST_PART, Math.min(USUAL_PART, share))
  // If nobody knows how large it becomes, larger parts hold more.
  const partBytes = Math.max(least, expected > 0 ? usual : Math.max(usual, Math.floor(share / 2 / MIB) * MIB))
  const count = Math.min(MOST_AT_ONCE, Math.floor(share / partBytes))
  if (count >= 1 && (count >= 2 || least <= usual)) {
    return { budget: budget.carve(count * partBytes, 'the parts of the upload'), partBytes, count }
  }
  const bytes = 2 * partBytes
  const why = `drives of ${formatBytes(expected)} take parts of ${formatBytes(partBytes)}, as a store takes ${MOST_PARTS} parts`
  if (budget.total !== DEFAULT_BUDGET) {
    const hint = `allow a larger --buffer, at least ${formatBytes(2 * bytes + (32 << 20))}`
    throw new VmapipeError('USAGE', `${why}, and they do not fit into half of ${formatBytes(budget.capacity)}`, {
      hint,
    })
  }
  warn(`${why}: the upload takes ${formatBytes(bytes)} of memory beside the usual ${formatBytes(budget.total)}`)
  return { budget: new Budget(bytes, 'the parts of the upload'), partBytes, count: 2 }
}

/** The part size with which this much fits, with a reserve: an archive of random data is a little larger than its drives. */
function leastPart(expected: number): number {
  return Math.ceil((expected * 1.01 + 64 * MIB) / (MOST_PARTS - 10) / MIB) * MIB
}
