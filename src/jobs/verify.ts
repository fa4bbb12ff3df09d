/** Everything that a restore would check, without writing anything. */

import { Census } from '../stages/census.ts'
import { bindStage } from '../stages/registry.ts'
import { type JobResult, runJob } from './job.ts'
import { type ReadOptions, reading } from './restore.ts'

/** Resolves where the archive is whole. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function verify(options: ReadOptions): Promise<JobResult> {
  const census = new Census()
  return runJob([...reading(options), bindStage('verifier', { census })], census, options)
}
