/**
 * Which archives of a guest rules such as "7 daily" keep, as Proxmox counts them: rules work one after the other, from `last` to `yearly`.
 * Each keeps the newest archive of a period, in as many periods as it says, the newest first. A period that has an archive that an
 * earlier rule keeps is not counted. `within` is that of restic: it counts back from the newest archive, not from now.
 */

import { VmapipeError } from '../core/errors.ts'
import { before, isoWeek, parseSpan, type WallTime, wallClock } from './calendar.ts'
import type { CatalogEntry } from './entry.ts'

/** How many archives of a guest stay. A rule that is not there, or 0, keeps none. */
export interface Keep {
  /** The newest ones. */
  last?: number | undefined
  /** The newest of an hour, in so many hours that have one. */
  hourly?: number | undefined
  daily?: number | undefined
  /** Weeks begin on Monday (ISO 8601). */
  weekly?: number | undefined
  monthly?: number | undefined
  yearly?: number | undefined
  /** All that are at most this much older than the newest: `14d`, `6w`, `3m`, `1y6m`. */
  within?: string | undefined
}

/** The rules that count, in their order. */
export const COUNTED = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
type Counted = (typeof COUNTED)[number]

/** Whether the rules keep anything at all. */
export function keepsSomething(keep: Keep): boolean {
  return keep.within !== undefined || COUNTED.some((rule) => (keep[rule] ?? 0) > 0)
}

/** Throws USAGE for numbers that are none. */
export function checkKeep(keep: Keep): void {
  for (const rule of COUNTED) {
    const number = keep[rule]
    if (number === undefined || (Number.isSafeInteger(number) && number >= 0)) continue
    throw new VmapipeError('USAGE', `keep ${rule}: ${number} is no number of archives`, {
      hint: 'a whole number from 0 on',
    })
  }
  if (keep.within !== undefined) parseSpan(keep.within)
}

/** The archives that the rules keep, each with its reasons such as "weekly 2". `archives`: those of one guest, the newest first. */
export function select(
  archives: readonly CatalogEntry[],
  keep: Keep,
  clock: (seconds: number) => WallTime = wallClock(),
): Map<CatalogEntry, string[]> {
  const times = new Map(archives.map((archive) => [archive, clock(archive.ctime)]))
  const kept = new Map<CatalogEntry, string[]>()
  const passedOver = new Set<CatalogEntry>()
  for (const rule of COUNTED) {
    const most = keep[rule] ?? 0
    if (most === 0) continue
    const periodOf = (archive: CatalogEntry) => period(rule, archive, times.get(archive)!)
    const covered = new Set([...kept.keys()].map(periodOf))
    const counted = new Set<string>()
    for (const archive of archives) {
      const id = periodOf(archive)
      if (kept.has(archive) || passedOver.has(archive) || covered.has(id)) continue
      if (counted.has(id)) passedOver.add(archive)
      else if (counted.size === most) break
      else {
        counted.add(id)
        kept.set(archive, [`${rule} ${counted.size}`])
      }
    }
  }
  if (keep.within !== undefined && archives.length > 0) {
    const oldest = before(times.get(archives[0])!, parseSpan(keep.within))
    for (const archive of archives) {
      if (times.get(archive)!.wall < oldest) continue
      kept.set(archive, [...(kept.get(archive) ?? []), `within ${keep.within}`])
    }
  }
  return kept
}

/** What the times of one period have in common. */
function period(rule: Counted, { place }: CatalogEntry, time: WallTime): string {
  const { year, month, day, hour } = time
  switch (rule) {
    case 'last':
      return place
    case 'hourly':
      return `${year}/${month}/${day}/${hour}`
    case 'daily':
      return `${year}/${month}/${day}`
    case 'weekly': {
      const week = isoWeek(time)
      return `${week.year}/${week.week}`
    }
    case 'monthly':
      return `${year}/${month}`
    case 'yearly':
      return String(year)
  }
}
