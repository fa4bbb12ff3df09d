/** The JSON Schema of a job file, for editors, and the keys that a map in it may have. */

import * as z from 'zod'
import type { JsonSchema } from '../../config/schema.ts'
import type { Path } from '../../core/problems.ts'
import { jobSchema } from './schema.ts'

export function jobJsonSchema(): JsonSchema {
  const { $schema, ...schema } = z.toJSONSchema(jobSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
  return { $schema, title: 'vmapipe job', ...schema }
}

/** As it is in the repository and printed by `vmapipe schema job`. */
export function jobSchemaText(): string {
  return `${JSON.stringify(jobJsonSchema(), null, 2)}\n`
}

/** The keys of the map at `path`. */
export function knownKeys(path: Path): string[] {
  let schemas = [jobJsonSchema()]
  for (const part of path) schemas = schemas.flatMap(alternatives).flatMap((schema) => inside(schema, part))
  const keys = schemas.flatMap(alternatives).flatMap(({ properties = {} }) => Object.keys(properties))
  return [...new Set(keys)].filter((key) => key !== '$schema')
}

function alternatives(schema: JsonSchema): JsonSchema[] {
  return schema.anyOf?.flatMap(alternatives) ?? [schema]
}

function inside({ properties, items }: JsonSchema, part: string | number): JsonSchema[] {
  if (typeof part === 'number') return items === undefined ? [] : [items]
  return properties !== undefined && Object.hasOwn(properties, part) ? [properties[part]] : []
}
