/** Where a run shows how it goes, and what it says besides: always standard error, so that standard output stays pure. */

import { BarDisplay } from './bar.ts'
import { JsonDisplay } from './json.ts'
import type { Snapshot } from './meter.ts'
import { PlainDisplay } from './plain.ts'

export type Level = 'info' | 'warning'

export interface Display {
  /** How far it is, looked at several times a second. */
  update(snapshot: Snapshot): void
  /** One line to read; `fields` are the same for programs. */
  note(level: Level, text: string, fields?: object): void
  /** Nothing more comes; `snapshot` is the whole run where it succeeded. */
  end(snapshot: Snapshot | null): void
}

export const PROGRESS_MODES = ['auto', 'bar', 'plain', 'json', 'none'] as const
export type ProgressMode = (typeof PROGRESS_MODES)[number]

export interface DisplayOptions {
  progress: ProgressMode
  quiet?: boolean
}

/** `auto` is a bar on a terminal, lines otherwise; `quiet` is neither progress nor notes. */
export function makeDisplay(title: string, { progress, quiet }: DisplayOptions, stream = process.stderr): Display {
  if (quiet) return { update() {}, note() {}, end() {} }
  const mode = progress === 'auto' ? (stream.isTTY ? 'bar' : 'plain') : progress
  const write = (line: string) => void stream.write(`${line}\n`)
  if (mode === 'json') return new JsonDisplay(title, write)
  if (mode === 'bar' && stream.isTTY) return new BarDisplay(title, stream)
  return new PlainDisplay(write, { progress: mode !== 'none' })
}
