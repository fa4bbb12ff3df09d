/** A time: relative text, which goes on with the clock, and the exact one in the browser's zone as a title. */

import { dayTime, exactTime, relativeTime } from '../format.ts'
import { clock } from '../state/clock.ts'

export function Ago({ at, none = 'never' }: { at: string | null; none?: string }) {
  if (at === null) return <span class="quiet">{none}</span>
  return (
    <time dateTime={at} title={exactTime(at)}>
      {relativeTime(at, clock.value)}
    </time>
  )
}

/** The time itself, such as "Tue, Dec 1, 02:00". */
export function At({ at }: { at: string | null }) {
  if (at === null) return <span class="quiet">unknown</span>
  return (
    <time dateTime={at} title={`${exactTime(at)}, ${relativeTime(at, clock.value)}`}>
      {dayTime(at)}
    </time>
  )
}
