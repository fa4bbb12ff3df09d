/** The stages of an operation as a config names them: what `--print-pipeline` prints is what the operation runs. */

import { bindStage } from '../config/registry.ts'
import type { BoundStage } from '../core/stage.ts'
import { AdjustableRate } from '../stages/rate-limit.ts'

/** A stage's name and its options, as in a config; options that are undefined are not given. */
export type PlannedStage = readonly [name: string, options?: Record<string, unknown>]

export function boundStages(plan: readonly PlannedStage[]): BoundStage[] {
  return plan.map(([name, options]) => bindStage(name, options && given(withBranches(options))))
}

/** One of several ways that the items go, in the options of `tee`. */
export interface PlannedBranch {
  name: string
  required: boolean
  stages: readonly PlannedStage[]
}

/** The options with the stages of branches bound too. */
function withBranches(options: Record<string, unknown>): Record<string, unknown> {
  const { branches } = options as { branches?: readonly PlannedBranch[] }
  if (branches === undefined) return options
  return { ...options, branches: branches.map((branch) => ({ ...branch, stages: boundStages(branch.stages) })) }
}

/** Without the options that are undefined. */
function given(options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** A limit if one is wanted. */
export function plannedLimit(bwlimit: number | string | AdjustableRate | undefined): PlannedStage[] {
  return bwlimit === undefined ? [] : [['rate-limit', rateOptions(bwlimit)]]
}

export function rateOptions(bwlimit: number | string | AdjustableRate): {
  rate: number | string
  dial?: AdjustableRate
} {
  return bwlimit instanceof AdjustableRate ? { rate: Number.MAX_SAFE_INTEGER, dial: bwlimit } : { rate: bwlimit }
}
