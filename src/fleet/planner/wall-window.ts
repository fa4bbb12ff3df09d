/** When a part of the day begins, by a clock on the wall that may be set forward or back. */

const MINUTE_MS = 60_000
const DAY_MINUTES = 24 * 60
/** A clock is set by less than this, in minutes. */
const MOST_SET = 180

interface Minutes {
  from: number
  to: number
}

export function isOpenAt({ from, to }: Minutes, minute: number): boolean {
  return from < to ? from <= minute && minute < to : minute >= from || minute < to
}

/** The next minute, in milliseconds since 1970, in which the window is open. It is closed `now`; `wall` tells the minute of the day. */
export function nextBeginAfter(minutes: Minutes, wall: (now: number) => number, now: number): number {
  const start = Math.floor(now / MINUTE_MS) * MINUTE_MS
  const ahead = (minutes.from - wall(start) + DAY_MINUTES) % DAY_MINUTES
  const guess = start + ahead * MINUTE_MS
  if (wall(guess) === minutes.from && !isSetWithin(wall, start, guess)) return guess
  // The clock is set before then. It may show that minute earlier or later, twice, or not at all.
  const first = Math.max(start, guess - MOST_SET * MINUTE_MS)
  for (let minute = 1; minute <= DAY_MINUTES + 2 * MOST_SET; minute++) {
    const time = first + minute * MINUTE_MS
    if (isOpenAt(minutes, wall(time))) return time
  }
  // The whole window was skipped, and it is a short one: that day has none.
  return guess + DAY_MINUTES * MINUTE_MS
}

function isSetWithin(wall: (now: number) => number, start: number, end: number): boolean {
  const passed = (end - start) / MINUTE_MS
  return (wall(start) + passed) % DAY_MINUTES !== wall(end)
}
