/** Chooses how a run is shown: by a bar, by lines, as JSON, or only by errors. */

import { fstatSync } from 'node:fs'
import { BarDisplay } from './bar.ts'
import type { Display } from './display.ts'
import { JsonDisplay } from './json.ts'
import { PlainDisplay, progressLine } from './plain.ts'

export const PROGRESS_MODES = ['auto', 'bar', 'plain', 'json', 'none'] as const
export type ProgressMode = (typeof PROGRESS_MODES)[number]

interface DisplayOptions {
  progress: ProgressMode
  quiet?: boolean
}

/** `auto` is a bar on a terminal, and lines otherwise. `none` is warnings and the summary. `quiet` is only errors. */
export function makeDisplay(title: string, { progress, quiet }: DisplayOptions, stream = process.stderr): Display {
  const mode = progress === 'auto' ? (stream.isTTY ? 'bar' : 'plain') : progress
  const write = (line: string) => void stream.write(`${line}\n`)
  if (quiet) return { ...SILENT, asked: (snapshot) => write(progressLine(snapshot)) }
  if (mode === 'json') return new JsonDisplay(title, write)
  if (mode === 'bar' && stream.isTTY) return new BarDisplay(title, stream)
  return new PlainDisplay(title, write, {
    everything: mode !== 'none',
    stamped: !stream.isTTY && !isJournal(stream.fd),
  })
}

const SILENT = { update() {}, stats() {}, table() {}, guest() {}, note() {}, summary() {}, exit() {}, close() {} }

/** Whether the stream goes to the journal, which adds the time to every line itself (systemd.exec(5), JOURNAL_STREAM). */
function isJournal(fd: number): boolean {
  const told = process.env.JOURNAL_STREAM
  if (told === undefined) return false
  try {
    const { dev, ino } = fstatSync(fd)
    return told === `${dev}:${ino}`
  } catch {
    return false
  }
}
