/** Parses durations such as `10s`, `500ms` and `1m`. A number without a unit is seconds. */

import * as z from 'zod'

const FORM = /^(\d+(?:\.\d+)?)(ms|s|m)?$/
const UNITS = { ms: 1, s: 1000, m: 60_000 }

/** Milliseconds, or undefined if `text` is not a duration. */
export function parseDuration(text: string): number | undefined {
  const match = FORM.exec(text.trim())
  if (match === null) return undefined
  const [, number, unit = 's'] = match
  return Math.round(Number(number) * UNITS[unit as keyof typeof UNITS])
}

/** The bounds of how long a guest may wait, in milliseconds. */
export const SHORTEST_WAIT = 100
export const LONGEST_WAIT = 3_600_000

/** How long a guest may wait, in an option: text such as `10s`, or a number of seconds; gives milliseconds, from 100 ms to an hour. */
export function waitDuration() {
  const error = ({ input }: { input?: unknown }) =>
    `expected a time such as 10s, from 100ms to 60m, got ${JSON.stringify(input)}`
  const text = z.string({ error }).regex(FORM, { error })
  const number = z.number({ error }).nonnegative({ error })
  return z.union([text, number], { error }).transform((value, context) => {
    const milliseconds = parseDuration(String(value))
    if (milliseconds !== undefined && milliseconds >= SHORTEST_WAIT && milliseconds <= LONGEST_WAIT) return milliseconds
    context.issues.push({ code: 'custom', input: value, message: error({ input: value }) })
    return z.NEVER
  })
}

/** The shortest text for whole milliseconds: `10s`, `500ms`. */
export function durationText(milliseconds: number): string {
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`
}
