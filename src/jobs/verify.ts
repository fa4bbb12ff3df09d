/** Everything that a restore would check, without writing anything. */

import { bindStage } from '../stages/registry.ts'
import { Census } from './census.ts'
import { type JobResult, runJob } from './job.ts'
import { type ReadOptions, reading } from './restore.ts'

/** Resolves where the archive is whole. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function verify(options: ReadOptions): Promise<JobResult> {
  const census = new Census()
  return runJob([...reading(options, census), bindStage('verifier', { report: () => {} })], census, options)
}
