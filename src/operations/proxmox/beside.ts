/** The files beside an archive of Proxmox: its notes and its log, which Proxmox's web page shows. */

import { asVmapipeError, printable } from '../../core/errors.ts'
import type { RunOptions } from '../../core/pipeline.ts'
import { logName, timeText } from '../../machine/proxmox/archive-name.ts'
import { besideArchive, SUFFIXES } from '../../storage/archive/names.ts'
import { openPlace } from '../../storage/archive/open-place.ts'
import { fileName, hasName } from '../../storage/archive/spec.ts'

interface Log {
  say(line: string): void
  text(): string
  /** Options of a run that note what it says, and pass it on. */
  options: Pick<RunOptions, 'warn' | 'inform'>
}

export function noteLog({ warn, inform }: Pick<RunOptions, 'warn' | 'inform'>): Log {
  const lines: string[] = []
  const note = (level: string, message: string) => lines.push(printable(`${timeText(new Date())} ${level}: ${message}`))
  return {
    say: (line) => {
      note('INFO', line)
      inform?.(line)
    },
    text: () => lines.map((line) => `${line}\n`).join(''),
    options: {
      warn: (message, ...more) => {
        note('WARN', message)
        warn?.(message, ...more)
      },
      inform: (message, ...more) => {
        note('INFO', message)
        inform?.(message, ...more)
      },
    },
  }
}

interface Beside {
  notes: string
  log: string
  warn: RunOptions['warn']
}

/** Writes them for each archive of a Proxmox name. The archive is complete: what fails here is a warning. */
export async function writeBeside(places: readonly string[], { notes, log, warn }: Beside): Promise<void> {
  for (const place of places) {
    if (!hasName(place) || !fileName(place).startsWith('vzdump-qemu-')) continue
    const folder = place.slice(0, place.lastIndexOf('/') + 1)
    const files = [
      [besideArchive(place, SUFFIXES.notes), notes],
      [`${folder}${logName(fileName(place))}`, log],
    ]
    for (const [file, text] of files) {
      await writeText(file, text).catch((error) =>
        warn?.(`the archive is complete, but not the file beside it: ${asVmapipeError(error, { file }).line}`),
      )
    }
  }
}

async function writeText(place: string, text: string): Promise<void> {
  if (text === '') return
  const target = openPlace(place).target({ force: true, lastWins: true })
  try {
    await target.open()
    await target.write([Buffer.from(text)])
    await target.finish()
  } finally {
    await target.abort()
  }
}
