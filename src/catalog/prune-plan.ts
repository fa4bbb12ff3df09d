/**
 * Decides which archives of a place stay and which go, and says why. It only computes. What it never lets go: the parent of an archive
 * that stays, what is protected, the newest good archive of a guest, what is in use, and what cannot be judged.
 */

import { printable, VmapipeError } from '../core/errors.ts'
import { wallClock } from './calendar.ts'
import type { CatalogEntry } from './entry.ts'
import { Families, folderOfPlace, hasFailed } from './families.ts'
import { compare } from './order.ts'
import { checkKeep, type Keep, keepsSomething, select } from './retention.ts'

export interface PlanOptions {
  /** Milliseconds since 1970. */
  now: number
  /** Places of archives that something reads, such as a restore or a backup that is made against them. */
  inUse: ReadonlySet<string>
  /** Only archives of this guest may go. */
  guest?: string | undefined
  /** The zone whose days and weeks count, such as `Europe/Berlin`; by default that of the user. */
  timeZone?: string | undefined
}

/** What becomes of an archive. */
export interface Verdict {
  entry: CatalogEntry
  stays: boolean
  /** Why it stays, such as "weekly 2", "protected" or "parent of 'x.vmi.zst'"; or why it goes. */
  reasons: string[]
}

/** Seconds that the newest archive may be ahead of this clock: two hosts seldom agree to the second. */
const SKEW = 300

/**
 * What becomes of each archive. The rules count for each guest and folder alone. Throws FAILED if an archive is of the future: then the
 * clock has jumped, or had, and no age can be trusted. Throws USAGE for rules that keep nothing.
 */
export function prunePlan(entries: readonly CatalogEntry[], keep: Keep, options: PlanOptions): Verdict[] {
  checkKeep(keep)
  if (!keepsSomething(keep)) {
    throw new VmapipeError('USAGE', 'no rule keeps any archive', { hint: 'such as --keep-last 3 --keep-daily 7' })
  }
  const isAsked = ({ guest }: CatalogEntry) => options.guest === undefined || guest === options.guest
  const judged = entries.filter((entry) => isJudged(entry) && isAsked(entry))
  refuseFuture(judged, options.now)
  const families = new Families(entries)
  const reasons = new Map<CatalogEntry, string[]>(entries.map((entry) => [entry, []]))
  const keepFor = (entry: CatalogEntry, reason: string) => void reasons.get(entry)!.push(reason)

  const clock = wallClock(options.timeZone)
  const guests = Map.groupBy(judged, (entry) => `${folderOfPlace(entry)}\0${entry.guest}`)
  for (const archives of guests.values())
    keepOfGuest(archives.toSorted(newestFirst), { keep, families, clock, keepFor })
  for (const entry of entries) {
    if (!isAsked(entry)) keepFor(entry, 'of another guest')
    else if (!isJudged(entry)) keepFor(entry, whyNotJudged(entry))
    if (entry.protected) keepFor(entry, 'protected')
    if (options.inUse.has(entry.place)) keepFor(entry, 'in use')
  }
  keepWhatUnknownMayNeed(entries, keepFor)
  keepAncestors(entries, families, reasons)
  return entries.map((entry) => {
    const why = reasons.get(entry)!
    return { entry, stays: why.length > 0, reasons: why.length > 0 ? why : [whyItGoes(entry)] }
  })
}

function refuseFuture(judged: readonly CatalogEntry[], now: number): void {
  const newest = judged.reduce((latest, { ctime }) => Math.max(latest, ctime), 0)
  if (newest * 1000 <= now + SKEW * 1000) return
  const { place } = judged.find(({ ctime }) => ctime === newest)!
  const time = new Date(newest * 1000)
  const text = Number.isNaN(time.getTime()) ? `${newest} seconds since 1970` : time.toISOString()
  throw new VmapipeError('FAILED', `'${printable(place)}' is of ${text}, which is in the future: nothing was removed`, {
    hint: "is this host's clock right? If it is, that archive was made by a wrong one: vmapipe forget removes it",
  })
}

interface GuestRules {
  keep: Keep
  families: Families
  clock: ReturnType<typeof wallClock>
  keepFor(entry: CatalogEntry, reason: string): void
}

/** `archives`: those of one guest in one folder, the newest first. */
function keepOfGuest(archives: readonly CatalogEntry[], { keep, families, clock, keepFor }: GuestRules): void {
  const good = archives.filter((entry) => families.isGood(entry))
  if (good.length === 0) {
    for (const entry of archives) keepFor(entry, 'no archive of this guest is known to be good')
    return
  }
  keepFor(good[0], 'newest good archive')
  // What is protected stays anyway, and is not counted.
  const counted = good.filter((entry) => !entry.protected)
  for (const [entry, why] of select(counted, keep, clock)) for (const reason of why) keepFor(entry, reason)
  // A damaged archive takes no good one's place, and goes when it would if it were good.
  const all = archives.filter((entry) => !entry.protected)
  for (const [entry, why] of select(all, keep, clock)) {
    if (families.isGood(entry)) continue
    for (const reason of why)
      keepFor(entry, `${reason}, though ${hasFailed(entry) ? 'it failed its check' : 'it cannot be restored'}`)
  }
}

/** Whether it is known what guest the archive is of, and when it was made. */
function isJudged({ guest, ctime, unreadable }: CatalogEntry): boolean {
  return unreadable === undefined && guest !== null && ctime > 0
}

function whyNotJudged({ guest, unreadable }: CatalogEntry): string {
  if (unreadable !== undefined) return `cannot be read: ${unreadable}`
  return guest === null ? 'it does not say which guest it is of' : 'it does not say when it was made'
}

/** An archive that cannot be read may be incremental. Then any archive in its folder may be its parent. */
function keepWhatUnknownMayNeed(entries: readonly CatalogEntry[], keepFor: GuestRules['keepFor']): void {
  const unknown = new Map<string, CatalogEntry>()
  for (const entry of entries) {
    if (entry.unreadable !== undefined && entry.kind === 'incremental') unknown.set(folderOfPlace(entry), entry)
  }
  for (const entry of entries) {
    const child = unknown.get(folderOfPlace(entry))
    if (child !== undefined && entry !== child && entry.unreadable === undefined) {
      keepFor(entry, `'${child.name}' cannot be read, and may need it`)
    }
  }
}

function keepAncestors(
  entries: readonly CatalogEntry[],
  families: Families,
  reasons: ReadonlyMap<CatalogEntry, string[]>,
): void {
  // The ancestors of an ancestor are followed as it gets a reason to stay itself.
  const left = entries.filter((entry) => reasons.get(entry)!.length > 0)
  for (const child of left) {
    for (const parent of families.parentsOf(child)) {
      const why = reasons.get(parent)!
      if (why.length === 0) left.push(parent)
      why.push(`parent of '${child.name}'`)
    }
  }
}

function whyItGoes(entry: CatalogEntry): string {
  return hasFailed(entry) ? 'no rule keeps it, and it failed its check' : 'no rule keeps it'
}

function newestFirst(a: CatalogEntry, b: CatalogEntry): number {
  return b.ctime - a.ctime || compare(b.written ?? '', a.written ?? '') || compare(b.place, a.place)
}

/** The archives that go, each before those that it needs: so what is left is never a broken chain. */
export function inOrderOfRemoval(verdicts: readonly Verdict[], families: Families): CatalogEntry[] {
  const going = verdicts.filter(({ stays }) => !stays).map(({ entry }) => entry)
  const children = new Map<CatalogEntry, number>(going.map((entry) => [entry, 0]))
  for (const entry of going) {
    for (const parent of families.parentsOf(entry)) {
      const before = children.get(parent)
      if (before !== undefined) children.set(parent, before + 1)
    }
  }
  const order = going.filter((entry) => children.get(entry) === 0)
  for (const entry of order) {
    for (const parent of families.parentsOf(entry)) {
      const before = children.get(parent)
      if (before === undefined) continue
      children.set(parent, before - 1)
      if (before === 1) order.push(parent)
    }
  }
  // Forged archives may be each other's parents: they stay.
  return order
}
