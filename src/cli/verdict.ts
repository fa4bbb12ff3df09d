/** Describes an archive that was read to its end: in lines for people, and as an object for programs. */

import { printable, type VmapipeError } from '../core/errors.ts'
import type { Damage } from '../core/findings.ts'
import { formatBytes } from '../core/size.ts'
import type { ArchiveReport, DriveVerdict } from '../operations/archive-report.ts'
import { rangeLines } from '../operations/restore-notes.ts'
import { percent } from './summary.ts'
import { columns, count } from './text.ts'

/** The most ranges of a drive that are shown to people; programs get more. */
const SHOWN = 20

/** A row for each drive, its damaged and missing ranges, and how far the data was checked. */
export function verdictLines(report: ArchiveReport): string[] {
  const rows = report.drives.map((drive) => {
    const { name, size, clusters, stored } = drive
    const whole = [`${percent(Math.max(0, size - stored), size)} zeros`, checksums(drive)]
    const sound = drive.damaged.bytes + drive.missing.bytes === 0
    return [
      `${printable(name)}:`,
      state(drive),
      formatBytes(size),
      count(clusters, 'cluster'),
      ...(sound ? whole : ['', '']),
    ]
  })
  const ranges = report.drives.flatMap((drive) => rangeLines(drive, undefined, SHOWN).map(printable))
  return [...columns(rows), ...ranges, ...checkedLine(report)]
}

function checksums({ checked, clusters }: DriveVerdict): string {
  if (checked === clusters) return 'checksums right'
  return checked === 0 ? 'no checksums' : `${checked} have checksums`
}

function state({ damaged, missing }: DriveVerdict): string {
  const parts = [
    ...(damaged.bytes > 0 ? [`${formatBytes(damaged.bytes)} damaged`] : []),
    ...(missing.bytes > 0 ? [`${formatBytes(missing.bytes)} missing`] : []),
  ]
  return parts.join(', ') || 'complete'
}

/** A line that says so if not all data could be checked. */
function checkedLine({ drives, compression }: ArchiveReport): string[] {
  if (drives.every(({ checked, clusters }) => checked === clusters)) return []
  const without = 'the archive has no checksums of its data'
  if (compression === null) return [`${without}: whether that is what was written could not be checked`]
  const { format, frames, checked } = compression
  if (checked === frames) return [`${without}, but the ${format} compression has: they are right`]
  if (checked === 0) return [`${without}, nor has the ${format} compression: it could not be checked`]
  return [`${without}; of ${count(frames, `${format} frame`)} ${checked} have one, the others could not be checked`]
}

/**
 * For programs. Bytes; `checked` are the clusters that a checksum of the archive covers. Listed are the first 1000 ranges of
 * each drive, and the first 1000 places that are damaged.
 */
export function verdictJson({ drives, compression, behind, damage, damageCount }: ArchiveReport): object {
  return {
    whole: damageCount === 0,
    compression,
    behind,
    drives: drives.map(({ damaged, missing, ...drive }) => ({
      ...drive,
      damagedBytes: damaged.bytes,
      damaged: damaged.ranges,
      missingBytes: missing.bytes,
    })),
    missing: drives.flatMap(({ name, missing }) => missing.ranges.map((range) => ({ drive: name, ...range }))),
    damage: damage.map(damageJson),
    damageCount,
  }
}

/** The object for an archive that could not be read at all. */
export function unreadableJson(error: VmapipeError): object {
  const damage = [damageJson({ error, clusters: [] })]
  return { whole: false, compression: null, behind: null, drives: [], missing: [], damage, damageCount: 1 }
}

function damageJson({ error: { code, message, stage, where, hint }, clusters }: Damage): object {
  return {
    code,
    message,
    stage,
    where,
    hint,
    clusters: clusters.map(({ drive, first, count }) => ({ drive, first, count })),
  }
}
