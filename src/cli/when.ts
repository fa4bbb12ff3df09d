/** Times for people, in the time zone of the user (TZ). */

const pad = (value: number, width = 2) => String(value).padStart(width, '0')

/** "2026-11-28 21:35"; a dash for a time that is not known or no date. */
export function localTime(time: number | string | null): string {
  const date = new Date(time ?? Number.NaN)
  if (Number.isNaN(date.getTime())) return '-'
  const day = `${pad(date.getFullYear(), 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}`
}
