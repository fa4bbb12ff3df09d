/** Makes one report of the parts of a night: a night of forty guests is one line of the history, whoever began each of them. */

import type { GuestReport, RunReport } from '../report.ts'
import { summedRemovals } from './prune-guest.ts'

/** The run of a time at which guests were due. Parts of one night, and a second delivery, have the same. */
export function runOfDue(due: number): string {
  return `${new Date(due).toISOString().replace(/[-:]|\.\d+/g, '')}-due`
}

/** The night so far, with what became of a part of it. */
export function mergedReport(before: RunReport | null, part: RunReport): RunReport {
  if (before === null) return part
  const guests = new Map(before.guests.map((guest) => [guest.guest, guest]))
  for (const guest of part.guests) guests.set(guest.guest, newer(guests.get(guest.guest), guest))
  const all = [...guests.values()]
  const done = all.filter(({ outcome }) => outcome === 'done').length
  // A place that was away is no problem any more if every guest was backed up later.
  const { problem: _, warnings: __, ...rest } = part
  const problem = part.problem ?? (done < all.length ? before.problem : undefined)
  const warnings = [...new Set([...(before.warnings ?? []), ...(part.warnings ?? [])])]
  return {
    ...rest,
    started: before.started < part.started ? before.started : part.started,
    ended: before.ended > part.ended ? before.ended : part.ended,
    outcome: done === 0 ? 'none' : done === all.length && problem === undefined ? 'all' : 'some',
    guests: all,
    removed: summedRemovals([...before.removed, ...part.removed]),
    next: part.next ?? before.next,
    ...(problem !== undefined && { problem }),
    ...(warnings.length > 0 && { warnings }),
  }
}

/** What was there already says less than the report of the backup that made it. */
function newer(before: GuestReport | undefined, now: GuestReport): GuestReport {
  const isKnown = before?.outcome === 'done' && (now.already || now.outcome !== 'done')
  return isKnown ? before : now
}
