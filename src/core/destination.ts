/** Where the items that a stage gives are published. */

import type { BoundStage, Destination } from './stage.ts'

/**
 * The place at which the last stage publishes what the stage at `index` gives. Null if that has no name, or if a stage between the two may
 * change the items.
 */
export function destinationBehind(stages: readonly BoundStage[], index: number): Destination | null {
  const last = stages.at(-1)!
  const between = stages.slice(index + 1, -1)
  if (index === stages.length - 1 || between.some(({ definition }) => definition.output !== 'same')) return null
  return last.definition.destination?.(last.options as never) ?? null
}
