/** Describes what became of the drives of a damaged archive. */

import type { ByteRange } from '../core/findings.ts'
import { formatBytes } from '../core/size.ts'
import type { UnsoundDrive } from '../stages/cluster-writer.ts'
import type { ArchiveReport, DriveVerdict, Ranges } from './archive-report.ts'

/** `unsound` are the drives that were restored and are not whole. */
export function restoreNotes({ drives }: ArchiveReport, unsound: readonly UnsoundDrive[]): string[] {
  return unsound.flatMap((drive) => {
    const verdict = drives.find(({ name }) => name === drive.drive)!
    return [outcome(drive, verdict), ...(drive.aside ? [] : rangeLines(verdict, RESTORED))]
  })
}

function outcome({ drive, path, aside, before }: UnsoundDrive, { damaged, missing }: DriveVerdict): string {
  const amounts = [
    ...(damaged.bytes > 0 ? [`${formatBytes(damaged.bytes)} damaged`] : []),
    ...(missing.bytes > 0 ? [`${formatBytes(missing.bytes)} missing`] : []),
  ]
  const what = `drive ${drive} is not whole: ${amounts.join(', ')}`
  if (before) return `${what}; ${path} has it nevertheless, with the damage`
  if (aside) return `${what}; left as '${path}'; --salvage gives it its name`
  return `${what}; salvaged as '${path}'`
}

/** The damaged and missing ranges of a drive: at most `most` lines of each kind, and one for the rest. */
export function rangeLines({ name, damaged, missing }: DriveVerdict, words = PLAIN, most = Infinity): string[] {
  return [
    ...linesOf(damaged, most, (range) => `drive ${name}, ${range}: ${words.damaged}`),
    ...linesOf(missing, most, (range) => `drive ${name}, ${range}: ${words.missing}`),
  ]
}

const PLAIN = { damaged: 'damaged', missing: 'missing' }
const RESTORED = { damaged: 'damaged (kept as read)', missing: 'missing (zeroes)' }

function linesOf({ bytes, ranges }: Ranges, most: number, line: (range: string) => string): string[] {
  const shown = ranges.slice(0, most)
  const listed = shown.reduce((sum, { length }) => sum + length, 0)
  const lines = shown.map((range) => line(rangeText(range)))
  return listed === bytes ? lines : [...lines, line(`${formatBytes(bytes - listed)} behind these`)]
}

function rangeText({ offset, length }: ByteRange): string {
  return `bytes ${offset} to ${offset + length - 1}`
}
