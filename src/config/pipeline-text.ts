/** Writes a pipeline as YAML that `vmapipe run` takes. */

import { stringify } from 'yaml'
import { VmapipeError } from '../core/errors.ts'

interface WrittenPipeline {
  name?: string
  /** Bytes. */
  buffer?: number
  threads?: number
  verify?: boolean
  /** Names and options. */
  stages: readonly (readonly [name: string, options?: Record<string, unknown>])[]
}

/** Throws USAGE if an option cannot be written, such as a stream. */
export function pipelineText({ stages, ...top }: WrittenPipeline): string {
  const value = { ...given(top), stages: stages.map(stageValue) }
  // Lines are not folded, and equal values are written again instead of by an alias.
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })
}

function stageValue([name, options = {}]: WrittenPipeline['stages'][number]): unknown {
  const kept = given({ ...options, ...branchesOf(options) })
  return Object.keys(kept).length === 0 ? name : { [name]: kept }
}

/** The stages of branches, as a config has them. */
function branchesOf({ branches }: { branches?: unknown }): object {
  if (!Array.isArray(branches)) return {}
  return { branches: branches.map((branch) => ({ ...branch, stages: branch.stages.map(stageValue) })) }
}

function given(options: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [[key, written(value)]])),
  )
}

/** The value with references to parameters made plain text: a path may have `${` in it. */
function written(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('${', () => '$${')
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (Array.isArray(value)) return value.map(written)
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) return given(value)
  throw new VmapipeError('USAGE', 'a config cannot have streams, open drives or functions in it')
}
