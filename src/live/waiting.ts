/** How long guests' requests wait for a backup: the figures, and an alarm before one would wait too long. */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

export interface WaitingFigures {
  /** Requests that had to wait. */
  count: number
  /** Of these, milliseconds that they waited. */
  p50: number
  p99: number
  max: number
  /** Requests that wait now. */
  now: number
}

/** How often it is looked whether somebody waits too long, in milliseconds; the alarm comes up to twice this early. */
const LOOK_EVERY = 50

export class Waiting {
  readonly #since = new Set<{ at: number }>()
  // Microseconds, up to about an hour.
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: 4_000_000_000, figures: 3 })
  #timer: NodeJS.Timeout | null = null

  /** Calls `alarm` once, before a request has waited for `limit` milliseconds. */
  watch(limit: number, alarm: (waited: number) => void): void {
    const enough = Math.max(limit - 2 * LOOK_EVERY, limit / 2)
    this.#timer = setInterval(() => {
      // The first one in is the one that has waited longest.
      const [oldest] = this.#since
      if (oldest === undefined) return
      const waited = performance.now() - oldest.at
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

  /** A request begins to wait; the function that is returned says that it goes on. */
  begin(): () => void {
    const entry = { at: performance.now() }
    this.#since.add(entry)
    return () => {
      if (!this.#since.delete(entry)) return
      this.#histogram.record(Math.max(1, Math.round((performance.now() - entry.at) * 1000)))
    }
  }

  get figures(): WaitingFigures {
    const { count } = this.#histogram
    const milliseconds = (microseconds: number) => (count === 0 ? 0 : microseconds / 1000)
    return {
      count,
      p50: milliseconds(this.#histogram.percentile(50)),
      p99: milliseconds(this.#histogram.percentile(99)),
      max: milliseconds(this.#histogram.max),
      now: this.#since.size,
    }
  }
}
