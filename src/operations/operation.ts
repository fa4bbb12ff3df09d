/** What all operations have in common: their options and their results. */

import { bindStage } from '../config/registry.ts'
import type { Census, DriveReport } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { atLeastOne, type Shape, text } from '../core/options.ts'
import { definePipeline, type RunOptions, type RunResult } from '../core/pipeline.ts'
import { runOptionsOf, runShape } from '../core/run-options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import { AdjustableRate } from '../stages/rate-limit.ts'
import { rateOptions } from './plan.ts'

/** How an operation runs. */
export interface OperationOptions extends RunOptions {
  /** The most bytes a second that are read, or text such as `100MB/s`: from the drives in a backup, else from the archive. */
  bwlimit?: number | string | AdjustableRate
}

export const operationShape = {
  ...runShape,
  bwlimit: z.union([atLeastOne, text, z.instanceof(AdjustableRate)]),
} satisfies Shape<OperationOptions>

/** What an operation ends with: the figures of the run, and what the archive has. */
export interface OperationResult extends RunResult {
  manifest: Manifest
  drives: DriveReport[]
}

/** Runs the stages. Resolves with what the `census` stage among them has seen. */
export async function runOperation(
  stages: readonly BoundStage[],
  census: Census,
  options: OperationOptions,
): Promise<OperationResult> {
  const result = await definePipeline(stages).run(runOptionsOf(options))
  const { manifest, drives } = census
  if (manifest === null) throw new VmapipeError('INCOMPLETE', 'no archive header went by', { stage: 'census' })
  return { ...result, manifest, drives }
}

/** A rate limit if one is wanted. */
export function limit(bwlimit: OperationOptions['bwlimit']): BoundStage[] {
  return bwlimit === undefined ? [] : [bindStage('rate-limit', rateOptions(bwlimit))]
}
