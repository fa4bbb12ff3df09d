/** Finds the places of a pipeline's archive: its last sink, or those of the branches of a tee. */

import type { BoundStage } from '../../core/stage.ts'
import { compressor } from '../../stages/compressor.ts'
import { encryptor } from '../../stages/encryptor.ts'
import { sink } from '../../stages/sink.ts'
import { tee } from '../../stages/tee.ts'

/** What comes before a sink. */
interface Before {
  /** The method of compression; null if there is none. */
  compression: string | null
  isEncrypted: boolean
}

interface Branches {
  branches: { stages: readonly BoundStage[] }[]
}

/** The same stages with other sinks. */
export function mapSinks(
  stages: readonly BoundStage[],
  change: (stage: BoundStage, before: Before) => BoundStage,
  before: Before = { compression: null, isEncrypted: false },
): BoundStage[] {
  let [compression, isEncrypted] = [before.compression, before.isEncrypted]
  return stages.map((stage) => {
    const { definition, options } = stage
    if (definition.name === compressor.definition.name) compression = (options as { method: string }).method
    if (definition.name === encryptor.definition.name) isEncrypted = true
    if (definition.name === sink.definition.name) return change(stage, { compression, isEncrypted })
    if (definition.name !== tee.definition.name) return stage
    const branches = (options as Branches).branches.map((branch) => ({
      ...branch,
      stages: mapSinks(branch.stages, change, { compression, isEncrypted }),
    }))
    return { ...stage, options: { ...(options as object), branches } }
  })
}

/** Where the sinks write to: places, or streams. */
export function placesOf(stages: readonly BoundStage[]): unknown[] {
  const places: unknown[] = []
  mapSinks(stages, (stage) => {
    places.push((stage.options as { to: unknown }).to)
    return stage
  })
  return places
}
