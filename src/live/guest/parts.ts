/** A pipeline of a running guest, by what its stages are for. */

import type { BoundStage } from '../../core/stage.ts'
import type { AdjustableRate } from '../../stages/rate-limit.ts'
import { type InterceptorOptions, isInterceptor } from '../../stages/write-interceptor.ts'

/** A pipeline without its guest-source and its write-interceptor. */
export interface GuestParts {
  interceptor: InterceptorOptions
  /** Limits of the scan, between the two. */
  between: readonly BoundStage[]
  /** The lowest of these limits, in bytes a second. */
  rate: number | undefined
  /** One of them that can be changed while the backup runs. */
  dial: AdjustableRate | undefined
  rest: readonly BoundStage[]
}

export function partsOf(stages: readonly BoundStage[], index: number): GuestParts {
  const at = stages.findIndex(isInterceptor)
  const between = stages.slice(index + 1, at)
  const limits = between.map(({ options }) => options as { rate: number; dial?: AdjustableRate })
  const rates = limits.map(({ rate, dial }) => dial?.bytes ?? rate).filter(Number.isFinite)
  return {
    interceptor: stages[at].options as InterceptorOptions,
    between,
    rate: rates.length === 0 ? undefined : Math.min(...rates),
    dial: limits.find(({ dial }) => dial !== undefined)?.dial,
    rest: stages.slice(at + 1),
  }
}
