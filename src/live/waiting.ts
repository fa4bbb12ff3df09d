/** How long guests' requests wait for a backup: the figures, and an alarm before a request waits too long. */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** How long requests of the guest waited for the backup, in milliseconds. */
export interface WaitingFigures {
  /** Requests that had to wait. */
  count: number
  /** Milliseconds that these requests waited. The longest may be a request that waits now. */
  p50: number
  p99: number
  max: number
  /** The number of requests that wait now. */
  now: number
}

/** Milliseconds between two checks whether a request waits too long. The alarm comes up to twice this early. */
const LOOK_EVERY = 50

/** One request that waits, with pauses in which it waits for its disk and not for the backup. */
export class Wait {
  readonly #waiting: Set<Wait>
  readonly #record: (milliseconds: number) => void
  /** When the wait began, moved by the length of all pauses. */
  since: number
  #before = 0
  #isOver = false

  constructor(waiting: Set<Wait>, since: number, record: (milliseconds: number) => void) {
    this.#waiting = waiting
    this.#record = record
    this.since = since
    waiting.add(this)
  }

  pause(): void {
    if (this.#waiting.delete(this)) this.#before = performance.now() - this.since
  }

  resume(): void {
    if (this.#isOver || this.#waiting.has(this)) return
    this.since = performance.now() - this.#before
    this.#waiting.add(this)
  }

  /** The request continues. What it has waited goes into the figures. */
  end(): void {
    if (this.#isOver) return
    this.pause()
    this.#isOver = true
    this.#record(this.#before)
  }
}

export class Waiting {
  readonly #now = new Set<Wait>()
  // Microseconds, up to about an hour.
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: 4_000_000_000, figures: 3 })
  #timer: NodeJS.Timeout | null = null

  /** Calls `alarm` once, before a request has waited for `limit` milliseconds. */
  watch(limit: number, alarm: (waited: number) => void): void {
    const enough = Math.max(limit - 2 * LOOK_EVERY, limit / 2)
    this.#timer = setInterval(() => {
      const waited = this.longest
      if (waited < enough) return
      this.unwatch()
      alarm(waited)
    }, LOOK_EVERY)
    this.#timer.unref()
  }

  unwatch(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** A request begins to wait, or has been waiting since then. */
  begin(since = performance.now()): Wait {
    return new Wait(this.#now, since, this.#record)
  }

  /** How many requests wait now. */
  get now(): number {
    return this.#now.size
  }

  /** How long, in milliseconds, that one of them has waited that has waited longest. */
  get longest(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const { since } of this.#now) if (since < oldest) oldest = since
    return Math.max(0, performance.now() - oldest)
  }

  get figures(): WaitingFigures {
    const { count } = this.#histogram
    const milliseconds = (microseconds: number) => (count === 0 ? 0 : microseconds / 1000)
    return {
      count,
      p50: milliseconds(this.#histogram.percentile(50)),
      p99: milliseconds(this.#histogram.percentile(99)),
      max: Math.max(milliseconds(this.#histogram.max), this.longest),
      now: this.now,
    }
  }

  readonly #record = (milliseconds: number): void => {
    this.#histogram.record(Math.max(1, Math.round(milliseconds * 1000)))
  }
}
