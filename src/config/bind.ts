/** Makes stages of the items under `stages:`: `- name`, `- name: {options}`, or a stage made in code. */

import { misplacedStages } from '../core/pipeline.ts'
import { type Path, type Problem, problemsOf } from '../core/problems.ts'
import type { BoundStage, StageFactory } from '../core/stage.ts'
import { didYouMean } from '../core/suggest.ts'
import { parseWithTexts } from './coerce.ts'
import { optionsJsonSchema, type Registry } from './schema.ts'

interface Bound {
  stages: BoundStage[]
  /** Paths are from the root of the config. */
  problems: Problem[]
}

/** `texts` are the paths in the config whose values came from parameters, as text. */
export function bindItems(items: readonly unknown[], registry: Registry, texts: readonly Path[] = []): Bound {
  const bound: Bound = { stages: [], problems: [] }
  for (const [index, item] of items.entries()) {
    const path: Path = ['stages', index]
    const result = isBound(item) ? item : bindItem(item, path, registry, texts)
    if (Array.isArray(result)) bound.problems.push(...result)
    else bound.stages.push(result)
  }
  if (bound.problems.length > 0) return bound
  for (const { index, stage, ...problem } of misplacedStages(bound.stages))
    bound.problems.push({ path: ['stages', index, stage], ...problem })
  return bound
}

function isBound(item: unknown): item is BoundStage {
  return typeof (item as BoundStage | null)?.definition?.create === 'function'
}

function bindItem(item: unknown, path: Path, registry: Registry, texts: readonly Path[]): BoundStage | Problem[] {
  const named = typeof item === 'string' ? { [item]: null } : item
  if (named === null || typeof named !== 'object' || Array.isArray(named) || Object.keys(named).length !== 1) {
    const message = 'expected one stage: its name, or its name with a map of options'
    const several = named !== null && typeof named === 'object' && Object.keys(named).length > 1
    return [{ path, message, ...(several && { hint: 'indent the options below the name of the stage' }) }]
  }
  const [[name, options]] = Object.entries(named)
  const stage = registry.get(name)
  if (stage === undefined) {
    const hint = didYouMean(name, registry.keys()) ?? `there are ${[...registry.keys()].join(', ')}`
    return [{ path, ...(typeof item === 'object' && { key: name }), message: `there is no stage '${name}'`, hint }]
  }
  return bindOptions(stage, options ?? {}, [...path, name], texts)
}

function bindOptions(
  stage: StageFactory,
  options: unknown,
  path: Path,
  texts: readonly Path[],
): BoundStage | Problem[] {
  const here = texts.filter((text) => path.every((part, index) => text[index] === part))
  const checked = parseWithTexts(
    stage.definition.options,
    options,
    here.map((text) => text.slice(path.length)),
  )
  if (checked.success) return { definition: stage.definition, options: checked.data } as BoundStage
  const known = (at: Path) => (at.length === 0 ? Object.keys(optionsJsonSchema(stage).properties ?? {}) : [])
  return problemsOf(checked.error, options, known).map((problem) => ({ ...problem, path: [...path, ...problem.path] }))
}
