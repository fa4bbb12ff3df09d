/** Shows a bar on a terminal, with a line about the guest below it if there is one. It is redrawn in place, and removed when the run has ended. */

import { createRequire } from 'node:module'
import type cliProgress from 'cli-progress'
import type { Snapshot } from '../../core/meter.ts'
import { formatBytes, formatRate } from '../../core/size.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'
import { formatDuration, noteLine } from '../text.ts'
import type { Display, Level } from './display.ts'
import { progressLine } from './plain.ts'

const BAR_WIDTH = 24

/** Loaded only if there is a bar: most runs show none. */
const loadProgress = () => createRequire(import.meta.url)('cli-progress') as typeof cliProgress

export class BarDisplay implements Display {
  readonly #bars: cliProgress.MultiBar
  readonly #bar: cliProgress.SingleBar
  readonly #title: string
  readonly #stream: NodeJS.WriteStream
  #guestLine: cliProgress.SingleBar | null = null

  constructor(title: string, stream: NodeJS.WriteStream) {
    this.#title = title
    this.#stream = stream
    const { MultiBar } = loadProgress()
    this.#bars = new MultiBar({
      stream,
      hideCursor: true,
      clearOnComplete: true,
      emptyOnZero: true,
      format: (_options, _params, { line }) => line,
    })
    this.#bar = this.#bars.create(100, 0, { line: title })
  }

  update(snapshot: Snapshot): void {
    this.#bar.update(snapshot.percent ?? 0, { line: barLine(this.#title, snapshot, this.#columns) })
  }

  asked(snapshot: Snapshot): void {
    this.note('info', progressLine(snapshot))
  }

  stats(): void {}

  table(lines: readonly string[]): void {
    for (const line of lines) this.note('info', line)
  }

  guest(status: GuestStatus): void {
    const line = guestBarLine(status, this.#columns)
    this.#guestLine ??= this.#bars.create(100, 0, { line })
    this.#guestLine.update(0, { line })
  }

  note(level: Level, text: string): void {
    this.#bars.log(`${noteLine(level, text)}\n`)
    this.#bars.update()
  }

  summary(lines: readonly string[]): void {
    for (const line of lines) this.note('info', line)
  }

  /** Does nothing: the user has seen how the run ended. */
  exit(): void {}

  close(): void {
    this.#bars.stop()
  }

  get #columns(): number {
    return this.#stream.columns || 80
  }
}

/** The state of the guest, as much as fits into `columns`. The most important part comes first. */
export function guestBarLine({ waiting, buffer, clusters }: GuestStatus, columns: number): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const parts = [
    `guest: longest wait ${ms(waiting.max)}`,
    `p99 ${ms(waiting.p99)}`,
    `buffer ${formatBytes(buffer.used)} of ${formatBytes(buffer.size)}`,
    `${waiting.count} waits`,
    `${clusters.copied} clusters copied`,
  ]
  while (parts.length > 1 && parts.join('  ').length >= columns) parts.pop()
  return parts.join('  ')
}

/** The line with the bar, as much as fits into `columns`. The least important parts are left out first. */
export function barLine(title: string, snapshot: Snapshot, columns: number): string {
  const { percent, done, total, read, readRate, writeRate, zero, eta } = snapshot
  const filled = Math.floor(((percent ?? 0) / 100) * BAR_WIDTH)
  const head =
    total === null
      ? [title, formatBytes(read)]
      : [title, `${Math.floor(percent!).toString().padStart(3)}%`, `[${'#'.repeat(filled).padEnd(BAR_WIDTH, '-')}]`]
  const amount = total === null ? [] : [`${formatBytes(done)} of ${formatBytes(total)}`]
  const rates = [`read ${formatRate(readRate)}`, `write ${formatRate(writeRate)}`]
  const zeros = zero > 0 ? [`zero ${formatBytes(zero)}`] : []
  const left = eta === null || eta === 0 ? [] : [`ETA ${formatDuration(eta)}`]
  const choices = [
    [...head, ...amount, ...rates, ...zeros, ...left],
    [...head, ...rates, ...left],
    [...head, ...left],
    head.slice(0, 2),
  ]
  const lines = choices.map((parts) => parts.join('  '))
  return lines.find((line) => line.length < columns) ?? lines.at(-1)!
}
