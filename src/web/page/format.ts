/** Numbers and times as text. Sizes and durations are those of the command line. */

export { formatDuration } from '../../core/duration.ts'
export { formatBytes, formatRate } from '../../core/size.ts'

const exactFormat = new Intl.DateTimeFormat('en', {
  weekday: 'short',
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'short',
})
const dayTimeFormat = new Intl.DateTimeFormat('en', {
  weekday: 'short',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})
const yearTimeFormat = new Intl.DateTimeFormat('en', {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})
const timeFormat = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const dayFormat = new Intl.DateTimeFormat('en', {
  weekday: 'long',
  year: 'numeric',
  month: 'long',
  day: 'numeric',
})

/** In the browser's zone, with its name: for titles. */
export const exactTime = (at: string | number) => exactFormat.format(new Date(at))
/** "Tue, Dec 1, 02:00"; of another year "Dec 1, 2024, 02:00" */
export function dayTime(at: string | number): string {
  const date = new Date(at)
  const isThisYear = date.getFullYear() === new Date().getFullYear()
  return (isThisYear ? dayTimeFormat : yearTimeFormat).format(date)
}
/** "02:00" */
export const clockTime = (at: string | number) => timeFormat.format(new Date(at))
/** "Tuesday, December 1, 2026" */
export const longDay = (at: string | number) => dayFormat.format(new Date(at))

/** A day of the browser's zone as YYYY-MM-DD. */
export function dayKey(at: string | number | Date): string {
  const date = new Date(at)
  const pad = (value: number) => String(value).padStart(2, '0')
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`
}

const STEPS: [limit: number, size: number, unit: string][] = [
  [90, 1, 's'],
  [5400, 60, 'min'],
  [72 * 3600, 3600, 'h'],
  [60 * 86400, 86400, 'd'],
  [730 * 86400, 30.44 * 86400, 'mo'],
  [Number.POSITIVE_INFINITY, 365.25 * 86400, 'y'],
]

/** A length of time in one unit: "42 s", "5 min", "36 h", "4 d". */
export function roughly(seconds: number): string {
  const [, size, unit] = STEPS.find(([limit]) => seconds < limit)!
  return `${Math.round(seconds / size)} ${unit}`
}

/** A promise, which people compare with: "45 min", "1.5 h", "36 h", "7.5 d". */
export function promised(seconds: number): string {
  const [size, unit] = seconds < 3600 ? [60, 'min'] : seconds < 72 * 3600 ? [3600, 'h'] : [86400, 'd']
  return `${Math.round((seconds / Number(size)) * 10) / 10} ${unit}`
}

/** "5 min ago", "in 3 h", "now". */
export function relativeTime(at: string | number, now: number): string {
  const seconds = (now - new Date(at).getTime()) / 1000
  if (Math.abs(seconds) < 5) return 'now'
  return seconds > 0 ? `${roughly(seconds)} ago` : `in ${roughly(-seconds)}`
}

/** "1 guest", "2 guests" */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number.toLocaleString('en')} ${number === 1 ? noun : plural}`
}

/** "62 %" */
export function percent(part: number): string {
  const value = part * 100
  return `${value > 0 && value < 1 ? '<1' : Math.round(value)} %`
}

/** "0.42 ms", "12.3 ms", "140 ms", "1.2 s" */
export function milliseconds(value: number): string {
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`
  return `${value >= 100 ? Math.round(value) : value.toFixed(value >= 10 ? 1 : 2)} ms`
}

/** "2.9×": how many bytes were read for each that was written. */
export function ratio(read: number, written: number): string | null {
  return written > 0 && read > 0 ? `${(read / written).toFixed(read / written < 10 ? 1 : 0)}×` : null
}

/** The first letter large. */
export const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)
