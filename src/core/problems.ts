/** Turns a schema's errors into our own messages: the place, what was expected, and what was probably meant. */

import type * as z from 'zod'
/** The path to a value inside another one: keys of maps and positions in lists. */
export type Path = readonly (string | number)[]

import { didYouMean } from './suggest.ts'

export interface Problem {
  /** The path from the value that was checked. */
  path: Path
  /** A key in the map at `path` that should not be there. */
  key?: string
  message: string
  hint?: string
}

type Issue = z.core.$ZodIssue

/** One problem for each issue, but one for each unknown key. `known` returns the keys that a map may have. */
export function problemsOf(error: z.ZodError, input: unknown, known: (path: Path) => string[]): Problem[] {
  return error.issues.flatMap((issue) => problem(issue, input, known))
}

function problem(issue: Issue, input: unknown, known: (path: Path) => string[]): Problem[] {
  const path = issue.path as (string | number)[]
  const value = valueAt(input, path)
  if (issue.code === 'unrecognized_keys') {
    const options = known(path)
    return issue.keys.map((key) => ({
      path,
      key,
      message: `there is no option '${key}'`,
      hint: didYouMean(key, options) ?? (options.length > 0 ? `there are ${options.join(', ')}` : 'there are none'),
    }))
  }
  const { message, hint } = words(issue, value)
  return [{ path, message, ...(hint !== undefined && { hint }) }]
}

function words(issue: Issue, value: unknown): { message: string; hint?: string } {
  const got = shown(value)
  switch (issue.code) {
    case 'invalid_type':
      return { message: value === undefined ? 'is missing' : `expected ${kind(issue.expected)}, got ${got}` }
    case 'invalid_value': {
      const values = issue.values.map(String)
      const hint = typeof value === 'string' ? didYouMean(value, values) : undefined
      return { message: `expected ${oneOf(values)}, got ${got}`, hint }
    }
    case 'too_small':
      return { message: `expected ${bound(issue.origin, issue.minimum, 'at least')}, got ${got}` }
    case 'too_big':
      return { message: `expected ${bound(issue.origin, issue.maximum, 'at most')}, got ${got}` }
    case 'invalid_union': {
      const kinds = issue.errors.flatMap(([first]) => (first?.code === 'invalid_type' ? [kind(first.expected)] : []))
      const ours = issue.message !== 'Invalid input'
      return { message: ours || kinds.length === 0 ? issue.message : `expected ${kinds.join(' or ')}, got ${got}` }
    }
    case 'invalid_key':
      return { message: issue.issues[0].message }
    default:
      return { message: issue.message }
  }
}

const KINDS: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map of options',
  record: 'a map',
  array: 'a list',
}

function kind(expected: string): string {
  return KINDS[expected] ?? expected
}

function oneOf(values: string[]): string {
  return values.length === 1 ? values[0] : `one of ${values.join(', ')}`
}

function bound(origin: string, limit: number | bigint, words: string): string {
  const unit = { string: ' character', array: ' item' }[origin]
  return `${words} ${limit}${unit ?? ''}${unit === undefined || Number(limit) === 1 ? '' : 's'}`
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value !== null && typeof value === 'object') return 'a map'
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      value !== null && typeof value === 'object' ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    root,
  )
}
