/** Parses durations such as `10s`, `500ms` and `1m`. A number without a unit is seconds. */

/** Patterns in JSON Schema have no flags. */
export const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m)?$/
const UNITS = { ms: 1, s: 1000, m: 60_000 }

/** Milliseconds, or undefined if `text` is not a duration. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text.trim())
  if (match === null) return undefined
  const [, number, unit = 's'] = match
  return Math.round(Number(number) * UNITS[unit as keyof typeof UNITS])
}

/** The bounds of how long a guest may wait, in milliseconds. */
export const SHORTEST_WAIT = 100
export const LONGEST_WAIT = 3_600_000

/** The shortest text for whole milliseconds: `10s`, `500ms`. */
export function durationText(milliseconds: number): string {
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`
}

/** A time for people: "0.4s", "12s", "3m 05s", "2h 07m". */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`
  const whole = Math.round(seconds)
  const pad = (value: number) => String(value).padStart(2, '0')
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`
  return `${Math.floor(whole / 3600)}h ${pad(Math.floor((whole % 3600) / 60))}m`
}
