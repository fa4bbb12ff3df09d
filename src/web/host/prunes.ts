/** What retention would remove, and the word that stands for exactly this plan. */

import { planToken } from '../../catalog/plan-token.ts'
import { type PruneResult, prune } from '../../catalog/prune.ts'
import type { Keep } from '../../catalog/retention.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { VmapipeError } from '../../core/errors.ts'
import { pathIn } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import type { PruneView } from '../house.ts'

const PLAN_MS = 120_000

/** Errors: USAGE if no place of the job has rules, FAILED if a place cannot be read or an archive is of the future. */
export async function prunePlanOf(
  job: Job,
  guest: string | undefined,
  idOf: (place: string) => string,
): Promise<PruneView> {
  const places = job.to.filter(({ keep }) => keep !== undefined)
  if (places.length === 0)
    throw new VmapipeError('USAGE', `no place of the job '${job.name}' has keep: all archives stay`)
  const keys = job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
  const plans: (PruneResult & { keep: Keep })[] = []
  for (const { place, keep } of places) {
    const signal = AbortSignal.timeout(PLAN_MS)
    plans.push({ ...(await prune(place, keep!, { guest, dryRun: true, keys, signal })), keep: keep! })
  }
  const verdicts = plans.flatMap((plan) => plan.verdicts)
  return {
    token: planToken(plans),
    rows: verdicts.map(({ entry, stays, reasons }) => {
      return { archive: idOf(entry.place), place: entry.place, size: entry.size, stays, reasons }
    }),
    bytes: plans.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}
