/** A word that stands for a plan of retention: what was shown to people is what is removed, or nothing is. */

import { createHash } from 'node:crypto'
import type { PruneResult } from './prune.ts'
import type { Keep } from './retention.ts'

/** Another archive, another size of one, another verdict or other rules make another word. */
export function planToken(plans: readonly (Pick<PruneResult, 'place' | 'verdicts'> & { keep: Keep })[]): string {
  const rows = plans.map(({ place, keep, verdicts }) => [
    place,
    Object.entries(keep).sort(),
    verdicts.map(({ entry, stays }) => [entry.place, entry.size, entry.written, stays]).sort(),
  ])
  return createHash('sha256').update(JSON.stringify(rows)).digest('base64url')
}
