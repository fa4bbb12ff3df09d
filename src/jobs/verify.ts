/** Everything that a restore would check, without writing anything. */

import { definePipeline } from '../core/pipeline.ts'
import { bindStage } from '../stages/registry.ts'
import type { VerifyReport } from '../stages/verifier.ts'
import type { JobResult } from './job.ts'
import { type ReadOptions, reading } from './restore.ts'

/** Resolves where the archive is whole. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function verify(options: ReadOptions): Promise<JobResult> {
  let report: VerifyReport | undefined
  const verifier = bindStage('verifier', {
    report: (made: VerifyReport) => {
      report = made
    },
  })
  const result = await definePipeline([...reading(options), verifier]).run(options)
  return { ...result, ...report! }
}
