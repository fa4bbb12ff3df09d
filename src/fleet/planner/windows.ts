/**
 * The part of the day in which guests are begun, in the zone of their host. It is open by what clocks on the wall show there: on a day of 23
 * hours it may be shorter, on one of 25 hours longer.
 */

import { wallClock } from '../../catalog/calendar.ts'
import { isOpenAt, nextBeginAfter } from './wall-window.ts'

const TEXT = /^(\d{1,2}):(\d{2}) ?- ?(\d{1,2}):(\d{2})$/
const DAY_MINUTES = 24 * 60
/** Answers that are kept. A fleet has few different windows; should it have many, all are found again. */
const MOST = 10_000

/** Minutes since midnight. */
interface Minutes {
  from: number
  to: number
}

/** Null for what is no window: what cannot be read must not keep a guest without a backup. */
function minutesOf(window: string): Minutes | null {
  const match = TEXT.exec(window)
  if (match === null) return null
  const [fromHour, fromMinute, toHour, toMinute] = match.slice(1).map(Number)
  const from = (fromHour * 60 + fromMinute) % DAY_MINUTES
  const to = (toHour * 60 + toMinute) % DAY_MINUTES
  return from === to ? null : { from, to }
}

interface Known {
  /** The answer holds from then until `until`. */
  at: number
  until: number
  opens: number | null
}

/** Remembers what it has found, as a planner asks about the same few windows all the time. */
export class Windows {
  readonly #clocks = new Map<string, (now: number) => number>()
  readonly #known = new Map<string, Known>()

  /** When the window opens next; null if it is open now. */
  opens(window: string | null, zone: string, now: number): number | null {
    if (window === null) return null
    const key = `${zone} ${window}`
    const known = this.#known.get(key)
    if (known !== undefined && known.at <= now && now < known.until) return known.opens
    const minutes = minutesOf(window)
    if (minutes === null) return null
    const wall = this.#wallMinute(zone)
    const opens = isOpenAt(minutes, wall(now)) ? null : nextBeginAfter(minutes, wall, now)
    if (this.#known.size >= MOST) this.#known.clear()
    // What clocks show changes with the minute.
    const until = opens ?? (Math.floor(now / 60_000) + 1) * 60_000
    this.#known.set(key, { at: now, until, opens })
    return opens
  }

  /** The minute of the day that clocks in the zone show. */
  #wallMinute(zone: string): (now: number) => number {
    const made = this.#clocks.get(zone) ?? minuteClock(zone)
    this.#clocks.set(zone, made)
    return made
  }
}

/** A zone that this Node does not know counts as UTC. */
function minuteClock(zone: string): (now: number) => number {
  const clock = clockOf(zone)
  return (now) => {
    const { wall } = clock(Math.floor(now / 1000))
    return Math.floor(wall / 60_000) % DAY_MINUTES
  }
}

function clockOf(zone: string) {
  try {
    return wallClock(zone)
  } catch {
    return wallClock('UTC')
  }
}
