/** Lists the stages of vmapipe, by their names in a pipeline config. */

import { VmapipeError } from '../core/errors.ts'
import type { BoundStage, StageFactory } from '../core/stage.ts'
import { clusterSource } from './cluster-source.ts'
import { clusterWriter } from './cluster-writer.ts'
import { compressor } from './compressor.ts'
import { decompressor } from './decompressor.ts'
import { driveFilter } from './drive-filter.ts'
import { rateLimit } from './rate-limit.ts'
import { sink } from './sink.ts'
import { source } from './source.ts'
import { verifier } from './verifier.ts'
import { vmaDeframer } from './vma-deframer.ts'
import { vmaFramer } from './vma-framer.ts'
import { writeInterceptor } from './write-interceptor.ts'
import { zeroElider } from './zero-elider.ts'
import { zeroExpander } from './zero-expander.ts'

/** In the order of a backup, then of a restore. */
const ALL = [
  clusterSource,
  writeInterceptor,
  zeroElider,
  vmaFramer,
  compressor,
  sink,
  source,
  decompressor,
  vmaDeframer,
  zeroExpander,
  clusterWriter,
  verifier,
  driveFilter,
  rateLimit,
] as unknown as StageFactory[]

export const stages: ReadonlyMap<string, StageFactory> = new Map(ALL.map((stage) => [stage.definition.name, stage]))

/** Makes the stage of this name with these options. Throws USAGE if there is no such stage or an option is wrong. */
export function bindStage(name: string, options?: unknown): BoundStage {
  const stage = stages.get(name)
  if (stage === undefined) {
    throw new VmapipeError('USAGE', `there is no stage '${name}'`, {
      hint: `there are ${[...stages.keys()].join(', ')}`,
    })
  }
  return stage(options)
}
