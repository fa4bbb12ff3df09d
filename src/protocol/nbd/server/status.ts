import * as nbd from '../constants.ts'
import type { ServedDisk } from './export.ts'

/** Extents of one reply: a client asks again for what follows. */
const MAX_EXTENTS = 4096

/**
 * The answer to BLOCK_STATUS ("base:allocation metadata context"): length and flags of adjacent extents from `offset`,
 * in pairs. At least one, together `length` bytes at most; a single one where the client wants no more.
 */
export async function describeRange(disk: ServedDisk, offset: number, length: number, one: boolean): Promise<number[]> {
  const pairs: number[] = []
  const most = one ? 1 : MAX_EXTENTS
  for await (const extent of disk.map(offset, length)) {
    const flags = extent.zero ? nbd.STATE_HOLE | nbd.STATE_ZERO : 0
    if (pairs.at(-1) === flags) pairs[pairs.length - 2] += extent.length
    else if (pairs.length < 2 * most) pairs.push(extent.length, flags)
    else break
  }
  return pairs
}
