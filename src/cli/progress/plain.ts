/** Lines for a log, one every second at first, then ever more seldom: some hundred of them for a run of a day. */

import { formatBytes, formatRate } from '../../core/size.ts'
import { noteLine } from '../text.ts'
import type { Display, Level } from './display.ts'
import { formatDuration } from './duration.ts'
import type { Snapshot } from './meter.ts'

const FIRST_SECONDS = 1
const MOST_SECONDS = 300
/** The next line comes when the run has grown by this much. */
const GROWTH = 0.1

export class PlainDisplay implements Display {
  readonly #write: (line: string) => void
  readonly #progress: boolean
  #next = FIRST_SECONDS

  constructor(write: (line: string) => void, { progress }: { progress: boolean }) {
    this.#write = write
    this.#progress = progress
  }

  update(snapshot: Snapshot): void {
    const { elapsed, total, read, written } = snapshot
    const nothingYet = total === null && read + written === 0
    if (!this.#progress || nothingYet || elapsed < this.#next) return
    this.#next = elapsed + Math.min(MOST_SECONDS, Math.max(FIRST_SECONDS, elapsed * GROWTH))
    this.note('info', progressLine(snapshot))
  }

  note(level: Level, text: string): void {
    this.#write(noteLine(level, text))
  }

  end(): void {}
}

/** "12% (1.2 GiB of 10.0 GiB) in 3.0s, read: 410.2 MiB/s, write: 130.1 MiB/s, zero: 0.3 GiB" */
export function progressLine({ percent, done, total, read, elapsed, readRate, writeRate, zero }: Snapshot): string {
  const amount =
    total === null
      ? formatBytes(read)
      : `${Math.floor(percent!).toString().padStart(3)}% (${formatBytes(done)} of ${formatBytes(total)})`
  const zeros = zero > 0 ? `, zero: ${formatBytes(zero)}` : ''
  const rates = `read: ${formatRate(readRate)}, write: ${formatRate(writeRate)}`
  return `${amount} in ${formatDuration(elapsed)}, ${rates}${zeros}`
}
