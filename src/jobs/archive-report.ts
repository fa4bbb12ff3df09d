/** What is to be said of an archive that was read to its end, and the error that a damaged one is. */

import type { Behind } from '../core/behind.ts'
import type { DriveReport } from '../core/census.ts'
import { printable, VmapipeError } from '../core/errors.ts'
import type { ByteRange, CompressionFindings, Damage, DriveFindings, Findings } from '../core/findings.ts'
import type { Manifest } from '../core/items.ts'

/** So many ranges of a drive are listed: an archive may be damaged everywhere. */
const LISTED = 1000

/** Bytes of a drive, together, and the first of the ranges that they are. */
export interface Ranges {
  bytes: number
  ranges: ByteRange[]
}

export interface DriveVerdict extends DriveReport {
  /** Clusters that came under a checksum of the archive. */
  checked: number
  /** What came, and is not what was written or may not be. */
  damaged: Ranges
  /** What did not come. */
  missing: Ranges
}

export interface ArchiveReport {
  manifest: Manifest
  drives: DriveVerdict[]
  /** Null for an archive that is not compressed. */
  compression: CompressionFindings | null
  /** What was passed over behind the end of an archive that says where it ends. */
  behind: Behind | null
  /** The first of it, in the order in which it was found. */
  damage: readonly Damage[]
  /** All of it. */
  damageCount: number
}

export function archiveReport(findings: Findings, manifest: Manifest, drives: readonly DriveReport[]): ArchiveReport {
  const { compression, behind, damage, damageCount } = findings
  const verdicts = [...findings.drives.values()].map((found, index) => verdictOf(drives[index], found))
  return { manifest, drives: verdicts, compression, behind, damage, damageCount }
}

function verdictOf(seen: DriveReport, found: DriveFindings): DriveVerdict {
  return { ...seen, checked: found.checked, damaged: listed(found.damaged()), missing: listed(found.missing()) }
}

function listed(all: Iterable<ByteRange>): Ranges {
  const ranges: ByteRange[] = []
  let bytes = 0
  for (const range of all) {
    bytes += range.length
    if (ranges.length < LISTED) ranges.push(range)
  }
  return { bytes, ranges }
}

/** The first damage, as an error; further damage is suppressed in it, and `report` has everything. */
export class DamagedArchive extends VmapipeError {
  readonly report: ArchiveReport
  /** What became of the drives, a line each. */
  readonly notes: readonly string[]

  constructor(report: ArchiveReport, notes: readonly string[] = []) {
    const [{ error }, ...others] = report.damage
    const { code, message, stage, hint, where, cause } = error
    super(code, message, { stage, hint, cause, ...where })
    this.report = report
    this.notes = notes
    this.suppressed.push(...others.map((damage) => damage.error))
  }

  /** A line for all damage that is known, and one for what is not listed. */
  get lines(): string[] {
    const { damage, damageCount } = this.report
    const more = damageCount - damage.length
    return [
      ...damage.map(({ error }) => error.line),
      ...(more > 0 ? [`there is damage in ${more} more places`] : []),
      ...this.notes.map(printable),
    ]
  }
}
