/** Removes the archives of one guest that the places of its job do not keep. */

import type { CatalogEntry } from '../../catalog/entry.ts'
import { prune } from '../../catalog/prune.ts'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError } from '../../core/errors.ts'
import type { PlaceEntry } from '../file/schema.ts'
import type { RunReport } from '../report.ts'
import { folderAt } from './places.ts'

interface PruneGuestOptions {
  keys: Keyring | undefined
  /** Milliseconds since 1970. */
  now: number
  signal: AbortSignal
  warn: (text: string) => void
  /** Called before an archive is removed. */
  onRemoving?: (entry: CatalogEntry) => Promise<void>
}

/** Returns what was removed from each place. What cannot be removed is a warning. Never rejects; ends early if it is aborted. */
export async function pruneGuest(
  guest: string,
  places: readonly PlaceEntry[],
  { keys, now, signal, warn, onRemoving }: PruneGuestOptions,
): Promise<RunReport['removed']> {
  const all: RunReport['removed'] = []
  for (const { place, keep } of places) {
    if (keep === undefined) continue
    try {
      const result = await prune(folderAt({ place }, guest), keep, { guest, now, keys, signal, warn, onRemoving })
      for (const { entry, error } of result.failures) warn(`'${entry.place}' could not be removed: ${error.message}`)
      if (result.removed.length > 0) all.push({ place, archives: result.removed.length, bytes: result.bytes })
    } catch (error) {
      if (signal.aborted) return all
      warn(`nothing was removed from '${place}': ${asVmapipeError(error).text}`)
    }
  }
  return all
}

/** Adds up what was removed from each place. */
export function summedRemovals(all: RunReport['removed']): RunReport['removed'] {
  const sums = new Map<string, RunReport['removed'][number]>()
  for (const { place, archives, bytes } of all) {
    const sum = sums.get(place) ?? { place, archives: 0, bytes: 0 }
    sums.set(place, { place, archives: sum.archives + archives, bytes: sum.bytes + bytes })
  }
  return [...sums.values()]
}
