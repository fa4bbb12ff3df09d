/** Retention: removes the archives of a place that no rule keeps. What stays, and why, is decided in prune-plan.ts. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError, type VmapipeError } from '../core/errors.ts'
import { RetainedArchive } from '../storage/archive/retained.ts'
import { type Catalog, openCatalog } from './catalog.ts'
import type { CatalogEntry } from './entry.ts'
import { Families } from './families.ts'
import { isBeingRemoved } from './groups.ts'
import { inOrderOfRemoval, prunePlan, type Verdict } from './prune-plan.ts'
import { Remover, removeFiles } from './removal.ts'
import type { Keep } from './retention.ts'
import { removeSmall } from './small-file.ts'

export { type PlanOptions, prunePlan, type Verdict } from './prune-plan.ts'
export type { Keep } from './retention.ts'

export interface PruneOptions {
  /** Only archives of this guest go. */
  guest?: string | undefined
  /** Places of archives that may go; all others stay. */
  only?: ReadonlySet<string> | undefined
  /** Only tells what would be done. */
  dryRun?: boolean | undefined
  /** What opens archives that are encrypted: without it they stay, as it is not known what they are. */
  keys?: Keyring | undefined
  /** Milliseconds since 1970; the clock's by default. */
  now?: number | undefined
  /** The zone whose days and weeks count; by default that of the user. */
  timeZone?: string | undefined
  signal?: AbortSignal | undefined
  warn?: ((message: string) => void) | undefined
  /** Called before an archive is removed, which waits until it resolves. The archive may have to stay nevertheless. */
  onRemoving?: ((entry: CatalogEntry) => Promise<void>) | undefined
  /** Called with each archive that was removed. */
  onRemoved?: ((entry: CatalogEntry) => void) | undefined
}

export interface PruneResult {
  place: string
  /** What became of each archive, or would become of it. */
  verdicts: Verdict[]
  /** The archives that are gone; those that would go in a dry run. */
  removed: CatalogEntry[]
  /** Bytes of those. */
  bytes: number
  /** Archives that should go, and could not be removed. */
  failures: { entry: CatalogEntry; error: VmapipeError }[]
}

/**
 * Removes archives that no rule keeps. Errors: USAGE for rules that keep nothing and for places that cannot list, FAILED if the place
 * cannot be read or an archive is of the future, ABORTED. An archive that cannot be removed is a failure in the result, and ends nothing.
 *
 *     const { removed } = await prune('/srv/backup', { last: 3, daily: 7, weekly: 4 })
 *     console.log(removed.map(({ place }) => place))
 */
export async function prune(place: string, keep: Keep, options: PruneOptions = {}): Promise<PruneResult> {
  const { guest, only, dryRun = false, keys, now = Date.now(), timeZone, signal, warn } = options
  const catalog = await openCatalog(place, { keys, signal, warn })
  const { entries } = catalog
  const remover = new Remover(catalog, { keys, signal })
  const common = { now, timeZone, guest }
  let verdicts = prunePlan(entries, keep, { ...common, inUse: new Set() })
  const inUse = new Set<string>()
  for (const { entry, stays } of verdicts) if (!stays && (await remover.isInUse(entry))) inUse.add(entry.place)
  if (inUse.size > 0) verdicts = prunePlan(entries, keep, { ...common, inUse })
  const result: PruneResult = { place, verdicts: asked(verdicts, guest), removed: [], bytes: 0, failures: [] }
  const all = inOrderOfRemoval(verdicts, new Families(entries))
  const going = only === undefined ? all : all.filter(({ place: one }) => only.has(one))
  if (dryRun) return { ...result, removed: going, bytes: sizeOf(going) }
  await removeAll(going, remover, entries, result, options)
  await finishRemovals(catalog, result, options)
  return { ...result, bytes: sizeOf(result.removed) }
}

function asked(verdicts: readonly Verdict[], guest: string | undefined): Verdict[] {
  return verdicts.filter(({ entry }) => guest === undefined || entry.guest === guest)
}

function sizeOf(entries: readonly CatalogEntry[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0)
}

async function removeAll(
  going: readonly CatalogEntry[],
  remover: Remover,
  entries: readonly CatalogEntry[],
  { verdicts, removed, failures }: PruneResult,
  { signal, onRemoving, onRemoved }: PruneOptions,
): Promise<void> {
  const families = new Families(entries)
  const gone = new Set<CatalogEntry>()
  const stay = (entry: CatalogEntry, reason: string) => {
    const verdict = verdicts.find((one) => one.entry === entry)
    if (verdict !== undefined) Object.assign(verdict, { stays: true, reasons: [reason] })
  }
  for (const entry of going) {
    signal?.throwIfAborted()
    // A child that was to go may have had to stay.
    const child = families.childrenOf(entry).find((one) => !gone.has(one))
    if (child !== undefined) {
      stay(entry, `parent of '${child.name}'`)
      continue
    }
    try {
      await onRemoving?.(entry)
      const reason = await remover.remove(entry)
      if (reason !== null) {
        stay(entry, reason)
        continue
      }
      gone.add(entry)
      removed.push(entry)
      onRemoved?.(entry)
    } catch (error) {
      signal?.throwIfAborted()
      const failure = asVmapipeError(error)
      stay(entry, failure.message)
      // A lock of the store is no fault: it was asked for.
      if (!(failure instanceof RetainedArchive)) failures.push({ entry, error: failure })
    }
  }
}

/** Removes what a run that was killed has left of archives that it removed. */
async function finishRemovals(
  { folder, files, leftOvers }: Catalog,
  { removed }: PruneResult,
  { warn }: PruneOptions,
): Promise<void> {
  const left = leftOvers.filter(isBeingRemoved)
  for (const group of left) {
    await removeFiles(folder, group).catch((error) => {
      warn?.(`what is left of '${group.archive}' was not removed: ${asVmapipeError(error).line}`)
    })
  }
  // A run was killed before it removed anything, and by now the archive stays.
  const gone = new Set(removed.map(({ place }) => place))
  for (const [place, group] of files) {
    if (gone.has(place) || !isBeingRemoved(group)) continue
    await removeSmall(folder.at(`${group.folder}${group.archive}.removing`)).catch(() => {})
  }
}
