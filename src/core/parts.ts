/** The parts of a run: each stage with the body that it made for this run. */

import type { Gauge } from './gauge.ts'
import type { StageBody } from './stage.ts'

export interface Part {
  name: string
  body: StageBody
  gauge: Gauge
}

type Hooks = { open?(): unknown; close?(error: Error | null): unknown }

export function hasHooks(body: StageBody): body is StageBody & Hooks {
  return typeof body === 'object' && !('pipe' in body)
}
