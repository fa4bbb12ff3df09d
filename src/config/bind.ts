/** Makes stages of the items under `stages:`: `- name`, `- name: {options}`, or a stage made in code. */

import { misplacedStages } from '../core/pipeline.ts'
import { type Path, type Problem, problemsOf, valueAt } from '../core/problems.ts'
import type { BoundStage, StageFactory } from '../core/stage.ts'
import { didYouMean } from '../core/suggest.ts'
import { parseWithTexts, plainCopy } from './coerce.ts'
import { optionsJsonSchema, type Registry } from './schema.ts'

interface BoundItems {
  stages: BoundStage[]
  /** Paths are from the root of the config. */
  problems: Problem[]
}

/** How deep branches may be in branches. */
const DEEPEST = 4

/** `texts` are the paths in the config whose values came from parameters, as text. */
export function bindItems(items: readonly unknown[], registry: Registry, texts: readonly Path[] = []): BoundItems {
  const bound = bindList(items, ['stages'], registry, texts)
  if (bound.problems.length > 0) return bound
  for (const { index, stage, ...problem } of misplacedStages(bound.stages))
    bound.problems.push({ path: ['stages', index, stage], ...problem })
  return bound
}

/** Binds the stages of one list, which is at `list` in the config. */
function bindList(items: readonly unknown[], list: Path, registry: Registry, texts: readonly Path[]): BoundItems {
  const bound: BoundItems = { stages: [], problems: [] }
  for (const [index, item] of items.entries()) {
    const path: Path = [...list, index]
    const result = isBound(item) ? item : bindItem(item, path, registry, texts)
    if (Array.isArray(result)) bound.problems.push(...result)
    else bound.stages.push(result)
  }
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
  const at = [...path, name]
  const within = bindWithin(stage, options ?? {}, at, registry, texts)
  return Array.isArray(within) ? within : bindOptions(stage, within.options, at, texts)
}

/** The same options with stages in the place of the lists of their names, as a stage with branches has them. */
function bindWithin(
  { definition }: StageFactory,
  given: unknown,
  path: Path,
  registry: Registry,
  texts: readonly Path[],
): { options: unknown } | Problem[] {
  const lists = definition.stageLists?.(given) ?? []
  if (lists.length === 0) return { options: given }
  if (path.filter((part) => part === 'stages').length > DEEPEST) {
    return [{ path, message: `stages are at most ${DEEPEST} branches deep` }]
  }
  const options = plainCopy(given)
  const problems: Problem[] = []
  for (const list of lists) {
    const holder = valueAt(options, list.slice(0, -1) as Path) as Record<PropertyKey, unknown> | undefined
    const items = holder?.[list.at(-1)!]
    if (holder === undefined || !Array.isArray(items)) continue
    const bound = bindList(items, [...path, ...list], registry, texts)
    problems.push(...bound.problems)
    holder[list.at(-1)!] = bound.stages
  }
  return problems.length > 0 ? problems : { options }
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
