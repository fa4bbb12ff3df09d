/**
 * One JSON object a line, for programs. Bytes, seconds, bytes a second; null where it cannot be told.
 *
 *   {"type":"progress","job","elapsed","total","done","percent","read","written","zero","archive","readRate","writeRate","eta"}
 *   {"type":"note","job","level":"info"|"warning","text"}      with "guest", the service's status of a live backup, about every second of one
 *   {"type":"end", … the fields of progress, rates over the whole run}
 *   {"type":"error","code","exitCode","message","stage"?,"where","hint"?}     instead of the line for people; of a damaged archive
 *       with "report", as `vmapipe verify --json` has it, and "notes", what became of its drives
 *
 * A run ends with one `end` or one `error`. Fields may be added, none will change its meaning.
 */

import type { VmapipeError } from '../../core/errors.ts'
import { DamagedArchive } from '../../jobs/archive-report.ts'
import { verdictJson } from '../verdict.ts'
import type { Display, Level } from './display.ts'
import type { Snapshot } from './meter.ts'

const EVERY_SECONDS = 0.5

export class JsonDisplay implements Display {
  readonly #job: string
  readonly #write: (line: string) => void
  #next = 0

  constructor(job: string, write: (line: string) => void) {
    this.#job = job
    this.#write = write
  }

  update(snapshot: Snapshot): void {
    if (snapshot.elapsed < this.#next) return
    this.#next = snapshot.elapsed + EVERY_SECONDS
    this.#put('progress', rounded(snapshot))
  }

  note(level: Level, text: string, fields?: object): void {
    this.#put('note', { level, text, ...fields })
  }

  end(snapshot: Snapshot | null): void {
    if (snapshot !== null) this.#put('end', rounded(snapshot))
  }

  #put(type: string, fields: object): void {
    this.#write(JSON.stringify({ type, job: this.#job, ...fields }))
  }
}

export function errorRecord(error: VmapipeError): string {
  const { code, exitCode, message, stage, where, hint } = error
  const more = error instanceof DamagedArchive ? { report: verdictJson(error.report), notes: error.notes } : {}
  return JSON.stringify({ type: 'error', code, exitCode, message, stage, where, hint, ...more })
}

function rounded(snapshot: Snapshot): object {
  return Object.fromEntries(
    Object.entries(snapshot).map(([name, value]) => [name, value === null ? null : Math.round(value * 1000) / 1000]),
  )
}
