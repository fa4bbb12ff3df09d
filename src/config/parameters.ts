/**
 * Replaces `${NAME}` in the values of a config. The value comes from --set, else from the default in `params`, else from the
 * environment. It is put in after the YAML was parsed, so it cannot change the structure of the config, and `${` within it is not
 * replaced again. `$${` is a plain `${`. A value that is only `${NAME}` keeps the type of its default.
 */

import type { Path } from '../core/problems.ts'

type Scalar = string | number | boolean

export interface Parameter {
  default?: Scalar
  description?: string
  required?: boolean
}

interface ParameterSources {
  /** From --set. */
  set: Readonly<Record<string, string>>
  params: Readonly<Record<string, Parameter>>
  env: Readonly<Record<string, string | undefined>>
}

export type Lookup = (name: string) => Scalar | undefined

/** Finds the value of a name. A default may itself use `${ENV}` and names from --set, but not another default. */
export function lookup({ set, params, env }: ParameterSources): Lookup {
  const outside: Lookup = (name) => own(set, name) ?? ofEnvironment(env, name)
  return (name) => {
    const given = own(set, name)
    if (given !== undefined) return given
    const fallback = own(params, name)?.default
    if (fallback === undefined) return ofEnvironment(env, name)
    return typeof fallback === 'string' ? substituteText(fallback, outside) : fallback
  }
}

/** Node replaces bytes that are not UTF-8 by U+FFFD, so a path with one may name another file than was meant. */
function ofEnvironment(env: ParameterSources['env'], name: string): string | undefined {
  const value = own(env, name)
  if (!value?.includes('\ufffd')) return value
  throw new ReferenceProblem(`the environment's ${name} is not UTF-8`)
}

function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}

/** A reference that cannot be resolved. `path` is its place. */
export class ReferenceProblem extends Error {
  path: Path = []
  readonly missing: string | undefined

  constructor(message: string, missing?: string) {
    super(message)
    this.missing = missing
  }
}

const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

export interface Substituted {
  value: unknown
  /** Paths of values that are text from a parameter and may have to become a number or a boolean. */
  texts: Path[]
  /** Names that were used. */
  used: Set<string>
}

/** Replaces references in all string values of `value`, at any depth, but not in keys. Throws ReferenceProblem. */
export function substitute(value: unknown, find: Lookup): Substituted {
  const texts: Path[] = []
  const used = new Set<string>()
  const noting: Lookup = (name) => {
    used.add(name)
    return find(name)
  }
  const walk = (value: unknown, path: Path): unknown => {
    if (typeof value === 'string') {
      const result = at(path, () => substituteText(value, noting))
      if (result !== value && typeof result === 'string') texts.push(path)
      return result
    }
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]))
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key])]))
  }
  return { value: walk(value, []), texts, used }
}

function at<T>(path: Path, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof ReferenceProblem) error.path = path
    throw error
  }
}

function substituteText(text: string, find: Lookup): Scalar {
  const whole = /^\$\{([^}]*)\}$/.exec(text)
  if (whole !== null) return value(whole[1], find)
  return text.replace(REFERENCE, (all, name: string | undefined, end: string) => {
    if (name === undefined) return '${'
    if (end === '') throw new ReferenceProblem(`'${all}' has no closing brace`)
    return String(value(name, find))
  })
}

function value(name: string, find: Lookup): Scalar {
  if (!NAME.test(name)) throw new ReferenceProblem(`'\${${name}}' is no parameter: letters, digits and _ make a name`)
  const found = find(name)
  if (found === undefined) throw new ReferenceProblem(`\${${name}} is not set`, name)
  return found
}
