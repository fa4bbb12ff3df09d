/** Checks the options of the library's functions when they are called: a mistyped name is an error and is not ignored. */

import * as z from 'zod'
import { VmapipeError } from './errors.ts'
import { problemsOf } from './problems.ts'
import { isReadableLike, isWritableLike, type ReadableLike, type WritableLike } from './stream-kinds.ts'

/** A schema for each option. The compiler rejects a shape without one of them. */
export type Shape<Options> = { readonly [Name in keyof Options]-?: z.ZodType }

interface Checked<Options> {
  shape: Shape<Options>
  /** Options that must be given. */
  required?: readonly (keyof Options & string)[]
}

/**
 * Throws USAGE for an unknown option of `operation`, for one of the wrong type and for a required one that is missing. An option
 * that is undefined counts as not given.
 */
export function checkOptions<Options>(
  operation: string,
  { shape, required = [] }: Checked<Options>,
  options: Options,
): void {
  const schemas: Record<string, z.ZodType> = { ...(shape as Record<string, z.ZodType>) }
  for (const name of Object.keys(schemas)) {
    if (!required.includes(name as keyof Options & string)) schemas[name] = schemas[name].optional()
  }
  const checked = z.strictObject(schemas).safeParse(options)
  if (checked.success) return
  const known = (path: readonly unknown[]) => (path.length === 0 ? Object.keys(schemas) : [])
  const [{ path, message, hint }] = problemsOf(checked.error, options, known)
  const where = path.length === 0 ? '' : `option ${path.join('.')}: `
  throw new VmapipeError('USAGE', `${operation}: ${where}${message}`, { hint })
}

/** Schemas that several functions share. */
export const text = z.string().min(1)
export const flag = z.boolean()
export const bytes = z.number().int().min(0)
export const atLeastOne = z.number().int().min(1)
export const callback = z.custom<(...args: never[]) => unknown>(
  (value) => typeof value === 'function',
  'expected a function',
)
export const abortSignal = z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal')
export const names = z.array(text)
export const address = z.strictObject({ host: text, port: z.number().int().min(0).max(65535) })

/** An archive's place as text, or a stream of Node or the web. */
export const placeOrStream = z.union(
  [text, z.custom<ReadableLike | WritableLike>((value) => isReadableLike(value) || isWritableLike(value))],
  {
    error: 'expected a path, -, ssh://…, exec:…, a Node stream or a web stream',
  },
)
