/** The report about an archive that was read to its end, and the error for a damaged one. */

import type { Behind } from '../core/behind.ts'
import type { DriveReport } from '../core/census.ts'
import { printable, VmapipeError } from '../core/errors.ts'
import type { ByteRange, CompressionFindings, Damage, DriveFindings, Findings } from '../core/findings.ts'
import type { Manifest } from '../core/items.ts'

/** The most ranges of a drive that are listed: an archive may be damaged everywhere. */
const LISTED = 1000

/** The number of bytes in all ranges, and the first of the ranges. */
export interface Ranges {
  bytes: number
  ranges: ByteRange[]
}

/** What is known of one drive of an archive. */
export interface DriveVerdict extends DriveReport {
  /** Clusters whose data was checked by a checksum of the archive. */
  checked: number
  /** Data that was read, but is not or may not be what was written. */
  damaged: Ranges
  /** Data that is not in the archive. */
  missing: Ranges
}

/** What is known of an archive after it was read to its end. */
export interface ArchiveReport {
  manifest: Manifest
  drives: DriveVerdict[]
  /** Null if the archive is not compressed. */
  compression: CompressionFindings | null
  /** Bytes behind the end of the archive, which were not used. Null if there are none, or if the archive does not say where it ends. */
  behind: Behind | null
  /** The first damage, in the order in which it was found. */
  damage: readonly Damage[]
  /** The number of damaged places, also of those that are not listed. */
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

/**
 * The first damage as an error. Further damage is in `suppressed`, and `report` has everything.
 *
 *     try {
 *       await verify({ from: 'vm.vma' })
 *     } catch (error) {
 *       if (error instanceof DamagedArchive) console.log(error.report.drives.map(({ name, damaged }) => `${name}: ${damaged.bytes}`))
 *     }
 */
export class DamagedArchive extends VmapipeError {
  readonly report: ArchiveReport
  /** What became of the drives: a line for each. */
  readonly notes: readonly string[]

  constructor(report: ArchiveReport, notes: readonly string[] = []) {
    const [{ error }, ...others] = report.damage
    const { code, message, stage, hint, where, cause } = error
    super(code, message, { stage, hint, cause, ...where })
    this.report = report
    this.notes = notes
    this.suppressed.push(...others.map((damage) => damage.error))
  }

  /** A line for each damage that is listed, and one with the number of the others. */
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
