/** Verifies a part of the archives of each place, in turn, as the job asks. */

import { verifySample } from '../../catalog/sample.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError } from '../../core/errors.ts'
import { pathIn } from '../file/load.ts'
import type { Job, PlaceEntry } from '../file/schema.ts'

/** Returns a line for each archive that is damaged. What cannot be read is a warning. Errors: ABORTED. */
export async function sampleInTurn(
  job: Job,
  places: readonly PlaceEntry[],
  { signal, warn }: { signal: AbortSignal; warn: (text: string) => void },
): Promise<string[]> {
  const sample = job.check?.sample
  if (sample === undefined) return []
  const share = Math.min(1, Number.parseFloat(sample) / 100)
  const keys = job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
  const damaged: string[] = []
  for (const { place } of places) {
    try {
      const { checked } = await verifySample(place, { share, signal, warn, keys })
      for (const { entry, check } of checked)
        if (!check.passed) damaged.push(`'${entry.place}' is damaged: ${check.detail ?? 'it failed its check'}`)
    } catch (error) {
      signal.throwIfAborted()
      warn(`the archives of '${place}' were not verified: ${asVmapipeError(error).text}`)
    }
  }
  return damaged
}
