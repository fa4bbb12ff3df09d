/** Everything that a restore would check, without writing anything. */

import { bindStage } from '../config/registry.ts'
import { Findings } from '../core/findings.ts'
import { checkOptions } from '../core/options.ts'
import { definePipeline, type RunResult } from '../core/pipeline.ts'
import type { VerifyReport } from '../stages/verifier.ts'
import { type ArchiveReport, archiveReport, DamagedArchive } from './archive-report.ts'
import { type ReadOptions, reading, readShape } from './read-archive.ts'

export interface VerifyResult extends RunResult, ArchiveReport {}

/**
 * Resolves where the archive is whole. It is read to its end, past any damage, which is then in the DamagedArchive that this
 * rejects with. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 */
export async function verify(options: ReadOptions): Promise<VerifyResult> {
  checkOptions('verify', { shape: readShape, required: ['from'] }, options)
  const findings = new Findings()
  let seen: VerifyReport | undefined
  const verifier = bindStage('verifier', {
    report: (made: VerifyReport) => {
      seen = made
    },
  })
  const result = await definePipeline([...reading(options, findings), verifier]).run(options)
  const report = archiveReport(findings, seen!.manifest, seen!.drives)
  if (report.damageCount > 0) throw new DamagedArchive(report)
  return { ...result, ...report }
}
