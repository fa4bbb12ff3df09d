/** Makes stages with their options from the text of a YAML or JSON config. */

import { VmapipeError } from '../core/errors.ts'
import { type Path, type Problem, problemsOf } from '../core/problems.ts'
import { didYouMean } from '../core/suggest.ts'
import { bindItems } from './bind.ts'
import { parseWithTexts } from './coerce.ts'
import { type ConfigDocument, parseConfig, pathText } from './document.ts'
import { withStagesOf } from './extensions.ts'
import { type Lookup, lookup, type Parameter, ReferenceProblem, type Substituted, substitute } from './parameters.ts'
import { type PipelineParts, paramsSchema, pipelineSchema, type Registry } from './schema.ts'

export interface ReadContext {
  set: Record<string, string>
  env: Record<string, string | undefined>
  registry: Registry
}

type Params = Record<string, Parameter>

/** Reads a config. Throws CONFIG for the first problem, with the others in its `suppressed`. */
export function readPipeline(file: string, text: string, { set, env, registry }: ReadContext): PipelineParts {
  const document = parseConfig(file, text)
  if (document.value === null || typeof document.value !== 'object' || Array.isArray(document.value)) {
    throw failure(document, [{ path: [], message: 'expected a map with `stages:`' }])
  }
  const { params: rawParams, ...rest } = document.value as Record<string, unknown>
  const params = readParams(document, rawParams)
  const { value, texts } = resolve(document, rest, params, { set, env })
  const checked = parseWithTexts(pipelineSchema, value, texts)
  const problems = checked.success ? [] : problemsOf(checked.error, value, topLevel)
  const items = (value as { stages?: unknown }).stages
  const bound = bindItems(Array.isArray(items) ? items : [], registry, texts)
  problems.push(...bound.problems)
  if (!checked.success || problems.length > 0) throw failure(document, problems)
  const { name, buffer, threads, verify } = checked.data
  return { name, buffer, threads, verify, stages: bound.stages }
}

/** The stages of the registry, and those of the modules that the config names. No parameter says which code is loaded. */
export async function registryOf(file: string, text: string, registry: Registry): Promise<Registry> {
  const document = parseConfig(file, text)
  const { use } = (document.value ?? {}) as { use?: unknown }
  const checked = pipelineSchema.shape.use.safeParse(use)
  let all = registry
  // What is wrong with the list itself is told with all else that is wrong.
  for (const [index, module] of (checked.data ?? []).entries()) {
    all = await withStagesOf(module, { file, isConfig: true }, all).catch(({ message, hint }) => {
      throw failure(document, [{ path: ['use', index], message, hint }])
    })
  }
  return all
}

function topLevel(path: Path): string[] {
  return path.length === 0 ? Object.keys(pipelineSchema.shape).filter((key) => key !== '$schema') : []
}

function readParams(document: ConfigDocument, raw: unknown): Params {
  const checked = paramsSchema.safeParse(raw ?? {})
  if (checked.success) return checked.data
  const known = (path: Path) => (path.length === 1 ? ['default', 'description', 'required'] : [])
  const problems = problemsOf(checked.error, raw, known)
  throw failure(
    document,
    problems.map((problem) => ({ ...problem, path: ['params', ...problem.path] })),
  )
}

/** Puts the parameters in. A parameter that is set but not used, or needed but not set, is a problem. */
function resolve(
  document: ConfigDocument,
  value: unknown,
  params: Params,
  { set, env }: Pick<ReadContext, 'set' | 'env'>,
): Substituted {
  const find = lookup({ set, params, env })
  const missing = Object.keys(params).filter((name) => params[name].required && finds(find, name) === undefined)
  if (missing.length > 0) {
    const problems = missing.map((name) => ({
      path: ['params', name],
      message: 'must be set',
      hint: settingHint(name, params),
    }))
    throw failure(document, problems)
  }
  const result = attempt(document, params, () => substitute(value, find))
  const strange = Object.keys(set).find((name) => !Object.hasOwn(params, name) && !result.used.has(name))
  if (strange !== undefined) {
    const names = [...new Set([...Object.keys(params), ...result.used])]
    const hint = didYouMean(strange, names) ?? (names.length > 0 ? `it has ${names.join(', ')}` : 'it has none')
    throw new VmapipeError('CONFIG', `${document.file}: there is no parameter '${strange}' to set`, { hint })
  }
  return result
}

function finds(find: Lookup, name: string): unknown {
  try {
    return find(name)
  } catch {
    return true // It has a default; what is wrong with that comes up where it is used.
  }
}

function attempt<T>(document: ConfigDocument, params: Params, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof ReferenceProblem)) throw error
    const { path, message, missing } = error
    throw failure(document, [{ path, message, hint: missing === undefined ? undefined : settingHint(missing, params) }])
  }
}

function settingHint(name: string, params: Params): string {
  const description = Object.hasOwn(params, name) ? params[name].description : undefined
  const meant = Object.hasOwn(params, name) ? undefined : didYouMean(name, Object.keys(params))
  return (
    meant ?? `--set ${name}=VALUE sets it, or the environment${description === undefined ? '' : `: ${description}`}`
  )
}

/** "backup.yaml:12:5: stages[2].compressor.level: expected a number, got "high"" */
function failure(document: ConfigDocument, problems: Problem[]): VmapipeError {
  const errors = problems.map(({ path, key, message, hint }) => {
    const place = `${document.file}:${document.position(path, key)}`
    const what = path.length === 0 ? message : `${pathText(path)}: ${message}`
    return new VmapipeError('CONFIG', `${place}: ${what}`, { hint })
  })
  errors[0].suppressed.push(...errors.slice(1))
  return errors[0]
}
