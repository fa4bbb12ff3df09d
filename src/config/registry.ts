/** Lists the stages of vmapipe, by their names in a pipeline config. */

import { chainSource } from '../chain/chain-source.ts'
import { VmapipeError } from '../core/errors.ts'
import type { BoundStage, StageFactory } from '../core/stage.ts'
import { guestSource } from '../live/guest/guest-source.ts'
import { census } from '../stages/census.ts'
import { changeFilter } from '../stages/change-filter.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { clusterWriter } from '../stages/cluster-writer.ts'
import { compressor } from '../stages/compressor.ts'
import { decompressor } from '../stages/decompressor.ts'
import { decryptor } from '../stages/decryptor.ts'
import { delay } from '../stages/delay.ts'
import { driveFilter } from '../stages/drive-filter.ts'
import { encryptor } from '../stages/encryptor.ts'
import { exec } from '../stages/exec.ts'
import { fault } from '../stages/fault.ts'
import { hash } from '../stages/hash.ts'
import { joiner } from '../stages/joiner.ts'
import { progress } from '../stages/progress.ts'
import { rateLimit } from '../stages/rate-limit.ts'
import { sink } from '../stages/sink.ts'
import { source } from '../stages/source.ts'
import { splitter } from '../stages/splitter.ts'
import { tee } from '../stages/tee.ts'
import { verifier } from '../stages/verifier.ts'
import { vmaDeframer } from '../stages/vma-deframer.ts'
import { vmaFramer } from '../stages/vma-framer.ts'
import { writeInterceptor } from '../stages/write-interceptor.ts'
import { zeroElider } from '../stages/zero-elider.ts'
import { zeroExpander } from '../stages/zero-expander.ts'

/** In the order of a backup, then of a restore. */
const ALL = [
  clusterSource,
  guestSource,
  writeInterceptor,
  zeroElider,
  changeFilter,
  vmaFramer,
  compressor,
  encryptor,
  sink,
  source,
  chainSource,
  decryptor,
  decompressor,
  vmaDeframer,
  zeroExpander,
  clusterWriter,
  verifier,
  driveFilter,
  rateLimit,
  hash,
  exec,
  tee,
  splitter,
  joiner,
  progress,
  census,
  delay,
  fault,
] as unknown as StageFactory[]

/**
 * The stages of vmapipe, by their names in a pipeline config.
 *
 *     for (const [name, { definition }] of Object.entries(stages)) console.log(name, definition.summary)
 */
export const stages: ReadonlyMap<string, StageFactory> = new Map(ALL.map((stage) => [stage.definition.name, stage]))

/**
 * Makes the stage of this name with these options. Throws USAGE if there is no such stage or an option is wrong.
 *
 *     definePipeline([bindStage('source', { from: 'vm.vma' }), bindStage('vma-deframer'), bindStage('verifier')])
 */
export function bindStage(name: string, options?: unknown): BoundStage {
  const stage = stages.get(name)
  if (stage === undefined) {
    throw new VmapipeError('USAGE', `there is no stage '${name}'`, {
      hint: `there are ${[...stages.keys()].join(', ')}`,
    })
  }
  return stage(options)
}
