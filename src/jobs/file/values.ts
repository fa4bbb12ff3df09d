/** Values that are written as text in a job file: durations, patterns, times of the day. */

import * as z from 'zod'

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }
const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d|w)$/

interface DurationOptions {
  /** Seconds. */
  min?: number
  max?: number
  example?: string
}

/** A time such as `90s`, `10m`, `2h`, `30d`, or a number of seconds; gives milliseconds. */
export function duration({ min = 0, max = 3650 * UNITS.d, example = '10m' }: DurationOptions = {}) {
  const error = ({ input }: { input?: unknown }) =>
    `expected a time such as ${example} (s, m, h, d, w), got ${JSON.stringify(input) ?? 'nothing'}`
  const text = z.string({ error }).regex(DURATION, { error })
  const number = z.number({ error }).nonnegative({ error })
  return z.union([text, number], { error }).transform((value, context) => {
    const seconds = typeof value === 'number' ? value : secondsOf(value)
    if (seconds >= min && seconds <= max) return Math.round(seconds * 1000)
    const message = `expected a time from ${min} to ${max} seconds, got ${JSON.stringify(value)}`
    context.issues.push({ code: 'custom', input: value, message })
    return z.NEVER
  })
}

function secondsOf(text: string): number {
  const [, number, unit] = DURATION.exec(text)!
  return Number(number) * UNITS[unit as keyof typeof UNITS]
}

/** One text or a list of them; gives a list. */
export function oneOrMore<Item extends z.ZodType>(item: Item) {
  return z
    .union([item, z.array(item).min(1)], { error: 'expected one of them, or a list' })
    .transform((value) => (Array.isArray(value) ? value : [value]) as z.output<Item>[])
}

/** Text without NUL bytes, which no system call and no program takes. */
export const word = z
  .string()
  .min(1)
  .max(4096)
  .refine((text) => !text.includes('\0'), { message: 'there is a NUL byte in it' })

/** A part of a day, in minutes since midnight in the zone of this host. If it ends before it begins, it goes over midnight. */
export interface Window {
  from: number
  to: number
}

const WINDOW = /^([01]?\d|2[0-3]):([0-5]\d) ?- ?([01]?\d|2[0-4]):([0-5]\d)$/

/** `22:00-06:00` */
export const window = z
  .string()
  .regex(WINDOW, { message: 'expected a part of the day such as 22:00-06:00' })
  .transform((text, context): Window => {
    const [from, fromMinutes, to, toMinutes] = WINDOW.exec(text)!.slice(1).map(Number)
    const window = { from: from * 60 + fromMinutes, to: to * 60 + toMinutes }
    if (window.to > 24 * 60 || window.from === window.to % (24 * 60)) {
      const message = window.to > 24 * 60 ? 'a day ends at 24:00' : 'it begins and ends at the same time'
      context.issues.push({ code: 'custom', input: text, message })
      return z.NEVER
    }
    return window
  })

/** How often there is a full archive: after that time, or after that number of archives. */
export type Rhythm =
  | { kind: 'always' }
  | { kind: 'never' }
  | { kind: 'time'; milliseconds: number }
  | { kind: 'calendar'; unit: 'day' | 'week' | 'month' | 'year' }
  | { kind: 'count'; every: number }

const CALENDAR = { daily: 'day', weekly: 'week', monthly: 'month', yearly: 'year' } as const
const RHYTHM = /^(always|never|daily|weekly|monthly|yearly|every [1-9]\d{0,3}|[1-9]\d{0,3}d)$/

/** `weekly`, `monthly`, `14d`, `every 7`, `always` or `never`. */
export const rhythm = z
  .union([z.string().regex(RHYTHM, { error: notRhythm }), z.int().min(1).max(3650)], { error: notRhythm })
  .transform((value): Rhythm => {
    if (typeof value === 'number') return { kind: 'time', milliseconds: value * UNITS.d * 1000 }
    if (value === 'always') return { kind: 'always' }
    if (value === 'never') return { kind: 'never' }
    if (Object.hasOwn(CALENDAR, value)) return { kind: 'calendar', unit: CALENDAR[value as keyof typeof CALENDAR] }
    if (value.startsWith('every ')) return { kind: 'count', every: Number(value.slice('every '.length)) }
    return { kind: 'time', milliseconds: secondsOf(value) * 1000 }
  })

function notRhythm({ input }: { input?: unknown }): string {
  return `expected always, never, daily, weekly, monthly, yearly, 14d or every 7, got ${JSON.stringify(input) ?? 'nothing'}`
}
