/**
 * Logs what could not be read or written for a guest. A guest tries again and again, so each failure is logged once, with at most ten
 * lines a minute. Then one line a minute says how many more there were, for as long as they go on.
 */

import { asVmapipeError } from '../core/errors.ts'
import type { DiskFailure } from '../protocol/nbd/server/transmission.ts'

/** The most lines in one period, besides the line that sums up the rest. */
const MOST_LINES = 10
const PERIOD_MS = 60_000
/** The most lines that are remembered, so that they are not logged twice. */
const MOST_KNOWN = 1000

export class DiskFailures {
  readonly #warn: (message: string) => void
  readonly #period: number
  readonly #known = new Set<string>()
  #lines = 0
  /** Failures since the period began that were not logged. */
  #untold = 0
  #last = ''
  #timer: NodeJS.Timeout | null = null

  /** `period` in milliseconds. */
  constructor(warn: (message: string) => void = () => {}, period = PERIOD_MS) {
    this.#warn = warn
    this.#period = period
  }

  note({ exportName, command, error }: DiskFailure): void {
    const line = `${command} of ${exportName} failed: ${asVmapipeError(error).line}`
    this.#timer ??= setTimeout(() => this.#next(), this.#period).unref()
    if (this.#lines >= MOST_LINES || this.#known.has(line)) {
      this.#untold++
      this.#last = line
      return
    }
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.add(line)
    this.#lines++
    this.#warn(line)
  }

  /** Logs the rest now. To be called at the end. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#next()
  }

  #next(): void {
    this.#timer = null
    this.#lines = 0
    const { times, seconds } = { times: this.#untold, seconds: Math.round(this.#period / 1000) }
    this.#untold = 0
    if (times > 0) this.#warn(`${times} more failed requests in ${seconds} s, the last: ${this.#last}`)
  }
}
