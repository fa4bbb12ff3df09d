/** Shows a run as lines for a log. A run of a day has some hundred lines. */

import { EXIT_CODES } from '../../core/errors.ts'
import type { Snapshot } from '../../core/meter.ts'
import { formatBytes, formatRate } from '../../core/size.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'
import { formatDuration, noteLine } from '../text.ts'
import type { Display, Level } from './display.ts'

/** A line of progress comes after each step of this many percent, but at most one in this many seconds … */
const STEP_PERCENT = 10
const STEP_SECONDS = 1
/** … or after this many seconds. The time becomes longer as the run goes on. */
const LEAST_SECONDS = 30
const MOST_SECONDS = 300
const GROWTH = 0.1

interface PlainOptions {
  /** Whether progress and notes are shown; otherwise only warnings and the summary. */
  everything: boolean
  /** Whether each line has the time in it. */
  stamped?: boolean
}

export class PlainDisplay implements Display {
  readonly #title: string
  readonly #write: (line: string) => void
  readonly #everything: boolean
  readonly #stamped: boolean
  #nextPercent = STEP_PERCENT
  #nextSeconds = LEAST_SECONDS
  #lastSeconds = 0
  #guest: GuestStatus | null = null
  #hasBegun = false

  constructor(title: string, write: (line: string) => void, { everything, stamped = false }: PlainOptions) {
    this.#title = title
    this.#write = write
    this.#everything = everything
    this.#stamped = stamped
  }

  update(snapshot: Snapshot): void {
    const { elapsed, percent } = snapshot
    const isStep = percent !== null && percent >= this.#nextPercent && elapsed >= this.#lastSeconds + STEP_SECONDS
    const isDue = isStep || elapsed >= this.#nextSeconds
    // The summary comes at the end.
    if (!isDue || percent === 100) return
    this.#lastSeconds = elapsed
    this.#nextSeconds = elapsed + Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, elapsed * GROWTH))
    if (percent !== null) this.#nextPercent = percent - (percent % STEP_PERCENT) + STEP_PERCENT
    this.note('info', `${progressLine(snapshot)}${this.#waits()}`)
  }

  asked(snapshot: Snapshot): void {
    this.#say('info', `${progressLine(snapshot)}${this.#waits()}`)
  }

  stats(): void {}

  table(lines: readonly string[]): void {
    for (const line of lines) this.#say('info', line)
  }

  guest(status: GuestStatus): void {
    this.#guest = status
  }

  note(level: Level, text: string): void {
    if (!this.#everything && level === 'info') return
    this.#hasBegun = true
    this.#say(level, text)
  }

  summary(lines: readonly string[]): void {
    for (const line of lines) this.#say('info', line)
  }

  exit(code: number, seconds: number): void {
    // If it failed before it began, the line of the error is enough.
    if (!this.#everything || !this.#hasBegun) return
    const how = code === 0 ? 'finished' : code === EXIT_CODES.ABORTED ? 'ended early' : 'failed'
    const line = `${this.#title} ${how} after ${formatDuration(seconds)}, exit code ${code}`
    this.#say(code === 0 ? 'info' : 'error', line)
  }

  close(): void {}

  #waits(): string {
    if (this.#guest === null) return ''
    const { waiting, buffer } = this.#guest
    return `, writes waited at most ${waiting.max.toFixed(1)} ms, buffer ${formatBytes(buffer.used)} of ${formatBytes(buffer.size)}`
  }

  #say(level: Level | 'error', text: string): void {
    this.#write(noteLine(level, text, this.#stamped ? timeStamp(new Date()) : undefined))
  }
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

/** "2026-11-28 13:05:11", in the user's time zone, as in other logs of the system. */
function timeStamp(time: Date): string {
  const pad = (value: number) => String(value).padStart(2, '0')
  const day = [time.getFullYear(), time.getMonth() + 1, time.getDate()].map(pad).join('-')
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(':')}`
}
