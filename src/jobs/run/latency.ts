/**
 * How long the writes of a guest took, before its backup and during it: a line that can be drawn. It has a bounded number of points: as the
 * backup goes on, a point stands for more and more seconds.
 */

import type { WriteTimes } from '../../live/write-times.ts'

/** How long writes of a guest took: milliseconds, means over the time between two points. */
export interface LatencyView {
  /** The mean before the backup began; null if it is not known. */
  before: number | null
  /** Seconds since the backup began (negative before it), and milliseconds. */
  points: [at: number, ms: number][]
}

/** Enough for a line on a screen, and so few that the status of a run with many guests stays small. */
const MOST_POINTS = 120
/** Points before the backup. */
const MOST_BEFORE = 10
/** So many writes before the backup tell how long they take. With fewer, the mean since the guest was started does. */
const ENOUGH_WRITES = 20

/** The writes between two looks. Times are milliseconds since 1970. */
interface Span {
  from: number
  to: number
  writes: number
  milliseconds: number
}

export class LatencyTrace {
  #first: WriteTimes | null = null
  #last: { times: WriteTimes; at: number } | null = null
  #began: number | null = null
  #before: Span[] = []
  #during: Span[] = []
  /** Milliseconds that a point stands for at least. */
  #least = 0

  /** The point in time was set then, in milliseconds since 1970. */
  begin(at: number): void {
    this.#began ??= at
  }

  /** What was counted up to now. */
  add(times: WriteTimes, now: number): void {
    const last = this.#last
    this.#first ??= times
    this.#last = { times, at: now }
    const writes = times.writes - (last?.times.writes ?? times.writes)
    // Fewer than before: what counts them was started anew. None: there is nothing to be the mean of.
    if (last === null || writes <= 0) return
    const span = { from: last.at, to: now, writes, milliseconds: times.milliseconds - last.times.milliseconds }
    if (this.#began === null || now <= this.#began) {
      this.#before = [...this.#before, span].slice(-MOST_BEFORE)
      return
    }
    const latest = this.#during.at(-1)
    if (latest !== undefined && latest.to - latest.from < this.#least)
      this.#during.splice(-1, 1, together(latest, span))
    else this.#during.push(span)
    if (this.#during.length > MOST_POINTS) this.#thin()
  }

  /** Null as long as nothing was counted, as for drives at rest. */
  get view(): LatencyView | null {
    if (this.#last === null) return null
    const began = this.#began ?? this.#last.at
    const points = [...this.#before, ...this.#during].map((span): [number, number] => [
      round((span.to - began) / 1000),
      round(span.milliseconds / span.writes),
    ])
    return { before: this.#meanBefore(), points }
  }

  #meanBefore(): number | null {
    const recent = this.#before.reduce<Pick<Span, 'writes' | 'milliseconds'>>(
      (sum, { writes, milliseconds }) => ({
        writes: sum.writes + writes,
        milliseconds: sum.milliseconds + milliseconds,
      }),
      { writes: 0, milliseconds: 0 },
    )
    const known = recent.writes >= ENOUGH_WRITES ? recent : (this.#first ?? recent)
    return known.writes === 0 ? null : round(known.milliseconds / known.writes)
  }

  /** Makes one point of two. */
  #thin(): void {
    const spans = this.#during
    this.#during = spans.flatMap((span, at) =>
      at % 2 === 1 ? [] : spans[at + 1] === undefined ? [span] : [together(span, spans[at + 1])],
    )
    const [first] = this.#during
    this.#least = Math.max(2 * this.#least, first.to - first.from)
  }
}

function together(a: Span, b: Span): Span {
  return { from: a.from, to: b.to, writes: a.writes + b.writes, milliseconds: a.milliseconds + b.milliseconds }
}

function round(number: number): number {
  return Math.round(number * 1000) / 1000
}
