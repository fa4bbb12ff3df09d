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

/** Neighbouring steps together, every other stage by itself. */
export function groupSteps(parts: Part[]): Part[][] {
  const groups: Part[][] = []
  for (const part of parts) {
    const last = groups.at(-1)
    const joins = typeof part.body === 'function' && last !== undefined && typeof last[0].body === 'function'
    if (joins) last.push(part)
    else groups.push([part])
  }
  return groups
}
