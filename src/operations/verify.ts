/** Checks everything that a restore would check, and writes nothing. */

import { bindStage } from '../config/registry.ts'
import { Findings } from '../core/findings.ts'
import { checkOptions } from '../core/options.ts'
import { definePipeline, type RunResult } from '../core/pipeline.ts'
import { runOptionsOf } from '../core/run-options.ts'
import type { VerifyReport } from '../stages/verifier.ts'
import { type ArchiveReport, archiveReport, DamagedArchive } from './archive-report.ts'
import { type ReadingOptions, reading, readingShape } from './read-archive.ts'

/** What is known of an archive that is whole. */
export interface VerifyResult extends RunResult, ArchiveReport {}

/**
 * Resolves if the archive is whole. It is read to its end even if it is damaged. Then this rejects with a DamagedArchive that has
 * all damage. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const { drives } = await verify({ from: 'vm.vma.zst' })
 *     console.log(drives.length, 'drives are whole')
 */
export async function verify(options: ReadingOptions): Promise<VerifyResult> {
  checkOptions('verify', { shape: readingShape, required: ['from'] }, options)
  const findings = new Findings()
  let seen: VerifyReport | undefined
  const verifier = bindStage('verifier', {
    report: (made: VerifyReport) => {
      seen = made
    },
  })
  const result = await definePipeline([...reading(options, findings), verifier]).run(runOptionsOf(options))
  const report = archiveReport(findings, seen!.manifest, seen!.drives)
  if (report.damageCount > 0) throw new DamagedArchive(report)
  return { ...result, ...report }
}
