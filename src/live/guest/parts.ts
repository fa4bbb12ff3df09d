/** A pipeline of a running guest, by what its stages are for. */

import type { BoundStage } from '../../core/stage.ts'
import { type InterceptorOptions, isInterceptor } from '../../stages/write-interceptor.ts'

/** A pipeline without its guest-source and its write-interceptor. */
export interface GuestParts {
  interceptor: InterceptorOptions
  /** Limits of the scan, between the two. */
  between: readonly BoundStage[]
  /** The lowest of these limits, in bytes a second. */
  rate: number | undefined
  rest: readonly BoundStage[]
}

export function partsOf(stages: readonly BoundStage[], index: number): GuestParts {
  const at = stages.findIndex(isInterceptor)
  const between = stages.slice(index + 1, at)
  const rates = between.map(({ options }) => (options as { rate: number }).rate)
  return {
    interceptor: stages[at].options as InterceptorOptions,
    between,
    rate: rates.length === 0 ? undefined : Math.min(...rates),
    rest: stages.slice(at + 1),
  }
}
