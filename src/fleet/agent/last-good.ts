/** When the last good backup of a guest was made. It is remembered by its job; if that was lost, the archives tell. */

import { readCatalog } from '../../catalog/catalog.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { chainOf, isGood } from '../../jobs/run/archive-plan.ts'
import { folderAt, isRequired } from '../../jobs/run/places.ts'
import { keysOf } from './archives.ts'

/** Places are asked so seldom, in milliseconds: one on another host takes seconds. */
const AGAIN_MS = 3_600_000

export class LastGood {
  readonly #looked = new Map<string, { at: number; good: string | null }>()

  /** As ISO 8601; null if there is none. `remembered` is what the job's state says. Errors: ABORTED. */
  async of(job: Job, guest: string, remembered: string | null, signal: AbortSignal): Promise<string | null> {
    if (remembered !== null) return remembered
    const key = JSON.stringify([job.name, guest])
    const known = this.#looked.get(key)
    if (known !== undefined && Date.now() - known.at < AGAIN_MS) return known.good
    const good = await lookedUp(job, guest, signal)
    this.#looked.set(key, { at: Date.now(), good })
    return good
  }
}

/** The newest archive that is whole at all required places counts; that of the place that has the oldest. */
async function lookedUp(job: Job, guest: string, signal: AbortSignal): Promise<string | null> {
  const times: number[] = []
  for (const entry of job.to.filter(isRequired)) {
    const all = await readCatalog(folderAt(entry, guest), { keys: keysOf(job), signal }).catch(() => [])
    signal.throwIfAborted()
    const good = all.filter(
      (one) => one.unreadable === undefined && one.guest === guest && isGood(one) && chainOf(one, all) !== null,
    )
    if (good.length === 0) return null
    times.push(Math.max(...good.map(({ ctime }) => ctime)))
  }
  return new Date(Math.min(...times) * 1000).toISOString()
}
