/** Converts the text of parameters to numbers and booleans, if the schema wants one and the text is one. */

import type * as z from 'zod'
import { type Path, valueAt } from '../core/problems.ts'
import { pathText } from './document.ts'

/** Checks `value`, which is not changed. `texts` are the paths in it whose values came from a parameter, as text. */
export function parseWithTexts<T>(
  schema: z.ZodType<T>,
  value: unknown,
  texts: readonly Path[],
): z.ZodSafeParseResult<T> {
  const first = schema.safeParse(value)
  if (first.success || texts.length === 0) return first
  const candidates = new Set(texts.map(pathText))
  const copy = plainCopy(value)
  let changed = false
  for (const issue of first.error.issues) {
    const path = issue.path as (string | number)[]
    if (!candidates.has(pathText(path))) continue
    const text = valueAt(copy, path)
    const scalar = typeof text === 'string' ? asScalar(text, wanted(issue)) : undefined
    if (scalar === undefined || path.length === 0) continue
    ;(valueAt(copy, path.slice(0, -1)) as Record<PropertyKey, unknown>)[path.at(-1)!] = scalar
    changed = true
  }
  return changed ? schema.safeParse(copy) : first
}

/** The types that are allowed at the place of the issue. */
function wanted(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'invalid_type') return [issue.expected]
  if (issue.code !== 'invalid_union') return []
  return issue.errors.flat().flatMap((inner) => (inner.path.length === 0 ? wanted(inner) : []))
}

function asScalar(text: string, types: string[]): number | boolean | undefined {
  const numeric = types.includes('number') || types.includes('int')
  if (numeric && /^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  if (types.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  return undefined
}

/** A copy of lists and maps of plain values. All else, such as a stage that is there already, is in it as it is. */
export function plainCopy<T>(value: T): T {
  if (Array.isArray(value)) return value.map(plainCopy) as T
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return value
  if ('definition' in value) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainCopy(item)])) as T
}
