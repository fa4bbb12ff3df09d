/**
 * Shows a run as JSON, one object a line, for programs; `vmapipe schema progress` prints the JSON Schema of the lines (records.ts). Bytes,
 * seconds, bytes a second; null if the value is not known. A run ends with one `end` or one `error`.
 */

import type { VmapipeError } from '../../core/errors.ts'
import type { Snapshot } from '../../core/meter.ts'
import type { RunStats } from '../../core/stats.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'
import { DamagedArchive } from '../../operations/archive-report.ts'
import { verdictJson } from '../verdict.ts'
import type { Display, Level } from './display.ts'

/** Fields may be added within a version; none changes its meaning. */
export const RECORD_VERSION = 1

const EVERY_SECONDS = 0.5

export class JsonDisplay implements Display {
  readonly #operation: string
  readonly #write: (line: string) => void
  #next = 0
  #stats: RunStats | null = null

  constructor(operation: string, write: (line: string) => void) {
    this.#operation = operation
    this.#write = write
  }

  update(snapshot: Snapshot): void {
    if (snapshot.elapsed < this.#next) return
    this.#next = snapshot.elapsed + EVERY_SECONDS
    this.#put('progress', this.#figures(snapshot))
  }

  stats(stats: RunStats): void {
    this.#stats = stats
  }

  table(): void {}

  asked(snapshot: Snapshot): void {
    this.#put('progress', this.#figures(snapshot))
  }

  guest(status: GuestStatus): void {
    this.#put('guest', { guest: status })
  }

  note(level: Level, text: string, fields?: object): void {
    this.#put('note', { level, text, ...fields })
  }

  summary(_lines: readonly string[], snapshot: Snapshot): void {
    this.#put('end', this.#figures(snapshot))
  }

  exit(): void {}

  close(): void {}

  #figures(snapshot: Snapshot): object {
    const { stages, bottleneck } = this.#stats ?? { stages: [], bottleneck: null }
    return { ...rounded(snapshot), stages: stages.map(rounded), bottleneck: bottleneck && rounded(bottleneck) }
  }

  #put(type: string, fields: object): void {
    this.#write(JSON.stringify({ version: RECORD_VERSION, type, operation: this.#operation, ...fields }))
  }
}

export function errorRecord(error: VmapipeError): string {
  const { code, exitCode, message, stage, where, hint } = error
  const more = error instanceof DamagedArchive ? { report: verdictJson(error.report), notes: error.notes } : {}
  return JSON.stringify({
    version: RECORD_VERSION,
    type: 'error',
    code,
    exitCode,
    message,
    stage,
    where,
    hint,
    ...more,
  })
}

/** The same figures, with numbers of at most three digits behind the point. */
function rounded(figures: object): object {
  const round = (value: unknown) => (typeof value === 'number' ? Math.round(value * 1000) / 1000 : value)
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, round(value)]))
}
