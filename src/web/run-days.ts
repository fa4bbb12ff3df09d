/** The runs of half a year, summed up by the day on which they began: a page needs no more for its calendar, however many runs there are. */

import type { RunDay, RunRow } from './house.ts'

/** Days begin at a quarter of an hour in each zone of the world: that is as often as a calendar is asked. */
const QUARTER_MS = 900_000
/** Zones whose days are remembered; each has 17,000 quarters in half a year. */
const MOST_ZONES = 20
const WORST = ['all', 'some', 'none'] as const

/** The day of a time in each zone, by its quarter. */
const known = new Map<string, (at: number) => string>()

/** The oldest day first. `zone`: that of who looks, such as `Europe/Berlin`; UTC if it is not known here. */
export function daysOf(rows: Iterable<RunRow>, zone: string): RunDay[] {
  const dayOf = daysIn(zone)
  const days = new Map<string, RunDay>()
  for (const { started, ended, outcome, done, failed, stored } of rows) {
    const began = Date.parse(started)
    const day = dayOf(began)
    const sum = days.get(day) ?? { day, runs: 0, whole: 0, worst: 'all', done: 0, failed: 0, longest: 0, stored: 0 }
    sum.runs++
    if (outcome === 'all') sum.whole++
    if (WORST.indexOf(outcome) > WORST.indexOf(sum.worst)) sum.worst = outcome
    sum.done += done
    sum.failed += failed
    sum.longest = Math.max(sum.longest, (Date.parse(ended) - began) / 1000)
    sum.stored += stored
    days.set(day, sum)
  }
  return [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1))
}

function daysIn(zone: string): (at: number) => string {
  const before = known.get(zone)
  if (before !== undefined) return before
  const format = formatIn(zone)
  const quarters = new Map<number, string>()
  const dayOf = (at: number): string => {
    const quarter = Math.floor(at / QUARTER_MS)
    const there = quarters.get(quarter)
    if (there !== undefined) return there
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]))
    const day = `${parts.get('year')}-${parts.get('month')}-${parts.get('day')}`
    quarters.set(quarter, day)
    return day
  }
  if (known.size >= MOST_ZONES) known.delete(known.keys().next().value!)
  known.set(zone, dayOf)
  return dayOf
}

function formatIn(timeZone: string): Intl.DateTimeFormat {
  const digits = { year: 'numeric', month: '2-digit', day: '2-digit', calendar: 'gregory' } as const
  try {
    return new Intl.DateTimeFormat('en', { ...digits, timeZone })
  } catch {
    return new Intl.DateTimeFormat('en', { ...digits, timeZone: 'UTC' })
  }
}
