/** Tells hours, days, weeks, months and years of a time zone apart, as retention needs them. Only numbers come out: no dates to compare. */

import { VmapipeError } from '../core/errors.ts'

/** A moment as a clock on the wall and a calendar show it. */
export interface WallTime {
  year: number
  /** 1 to 12. */
  month: number
  day: number
  hour: number
  /** The moment in milliseconds as if the clock on the wall were that of UTC: it orders times of one zone, but for the hour that comes twice. */
  wall: number
}

const DAY_MS = 86_400_000

/** Gives the clock of a time zone, such as `Europe/Berlin`; by default that of the user (TZ). */
export function wallClock(timeZone?: string): (seconds: number) => WallTime {
  const format = new Intl.DateTimeFormat('en-US', {
    calendar: 'gregory',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
    ...(timeZone !== undefined && { timeZone }),
  })
  return (seconds) => {
    const parts: Record<string, number> = {}
    for (const { type, value } of format.formatToParts(seconds * 1000)) parts[type] = Number(value)
    const { year, month, day, hour, minute, second } = parts
    return { year, month, day, hour, wall: Date.UTC(year, month - 1, day, hour, minute, second) }
  }
}

/** The year and number of the week (ISO 8601): it belongs to the year that its Thursday is in. */
export function isoWeek({ year, month, day }: WallTime): { year: number; week: number } {
  const date = Date.UTC(year, month - 1, day)
  const weekday = (new Date(date).getUTCDay() + 6) % 7
  const thursday = new Date(date + (3 - weekday) * DAY_MS)
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1)
  return { year: thursday.getUTCFullYear(), week: 1 + Math.floor((thursday.getTime() - first) / DAY_MS / 7) }
}

/** A time span of the calendar. */
export interface Span {
  years: number
  months: number
  days: number
  hours: number
}

const UNITS = { y: 'years', m: 'months', w: 'weeks', d: 'days', h: 'hours' } as const
const LONGEST = 100_000

/** Reads `2y5m7d3h` as restic does, and weeks: `2w`. Throws USAGE. */
export function parseSpan(text: string): Span {
  const all = { years: 0, months: 0, weeks: 0, days: 0, hours: 0 }
  if (!/^(\d{1,6}[ymwdh])+$/.test(text)) throw noSpan(text)
  for (const [, number, unit] of text.matchAll(/(\d+)([ymwdh])/g))
    all[UNITS[unit as keyof typeof UNITS]] += Number(number)
  const { weeks, ...span } = all
  span.days += weeks * 7
  if (Object.values(span).some((number) => number > LONGEST)) throw noSpan(text)
  return span
}

function noSpan(text: string): VmapipeError {
  return new VmapipeError('USAGE', `'${text}' is no time span`, {
    hint: 'write it as 14d, 6w, 3m or 1y6m: y, m, w, d and h',
  })
}

/** The time on the wall that is the span before this one. */
export function before({ wall }: WallTime, { years, months, days, hours }: Span): number {
  const date = new Date(wall)
  const day = date.getUTCDate()
  date.setUTCDate(1)
  date.setUTCMonth(date.getUTCMonth() - months - 12 * years)
  // The 31st of a shorter month is its last day.
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate()
  date.setUTCDate(Math.min(day, last))
  return date.getTime() - days * DAY_MS - hours * 3_600_000
}
