/** Computes progress from counters and a clock: how far, how fast, and the time left. */

import type { Counters } from './counters.ts'

/** The progress of a run, in bytes, seconds and bytes per second. A value is null if it is not known. */
export interface Snapshot {
  elapsed: number
  total: number | null
  done: number
  percent: number | null
  read: number
  written: number
  zero: number
  archive: number
  readRate: number
  writeRate: number
  eta: number | null
}

interface Sample {
  elapsed: number
  done: number
  read: number
  written: number
}

/** Rates are averages of the last 5 seconds, so that they show what happens now. */
const WINDOW_SECONDS = 5

export class Meter {
  readonly #counters: Counters
  readonly #now: () => number
  readonly #start: number
  readonly #window: Sample[]

  constructor(counters: Counters, now: () => number = () => performance.now() / 1000) {
    this.#counters = counters
    this.#now = now
    this.#start = now()
    this.#window = [{ elapsed: 0, done: 0, read: 0, written: 0 }]
  }

  look(): Snapshot {
    const { sample, total } = this.#sample()
    const { elapsed, done, read, written } = sample
    this.#window.push(sample)
    while (this.#window.length > 2 && this.#window[1].elapsed <= elapsed - WINDOW_SECONDS) this.#window.shift()
    const [first] = this.#window
    const seconds = elapsed - first.elapsed
    const rate = (name: keyof Sample) => (seconds > 0 ? (sample[name] - first[name]) / seconds : 0)
    return this.#snapshot({ elapsed, done, read, written }, total, rate)
  }

  /** The progress with rates over the whole run. */
  summary(): Snapshot {
    const { sample, total } = this.#sample()
    return this.#snapshot(sample, total, (name) => (sample.elapsed > 0 ? sample[name] / sample.elapsed : 0))
  }

  #sample(): { sample: Sample; total: number | null } {
    const get = (name: string) => this.#counters.get(name)
    const sample = { elapsed: this.#now() - this.#start, done: get('done'), read: get('read'), written: get('written') }
    return { sample, total: get('total') > 0 ? get('total') : null }
  }

  #snapshot(sample: Sample, total: number | null, rate: (name: keyof Sample) => number): Snapshot {
    const pace = rate('done')
    return {
      ...sample,
      total,
      percent: total === null ? null : Math.min(100, (sample.done / total) * 100),
      zero: this.#counters.get('zero'),
      archive: this.#counters.get('archive'),
      readRate: rate('read'),
      writeRate: rate('written'),
      eta: total === null || pace <= 0 ? null : Math.max(0, (total - sample.done) / pace),
    }
  }
}

/** Milliseconds between two calls of `onProgress`, and of `onStats`. */
export const LOOK_MS = 250

/**
 * Calls `onProgress` four times a second with the progress, until the returned function is called. That function returns the
 * figures of the whole run.
 */
export function watchProgress(counters: Counters, onProgress: (snapshot: Snapshot) => void): () => Snapshot {
  const meter = new Meter(counters)
  const timer = setInterval(() => onProgress(meter.look()), LOOK_MS)
  return () => {
    clearInterval(timer)
    return meter.summary()
  }
}
