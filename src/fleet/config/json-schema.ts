/** The JSON Schema of the planner's config, for editors, and the keys that a map in it may have. */

import * as z from 'zod'
import type { JsonSchema } from '../../config/schema.ts'
import type { Path } from '../../core/problems.ts'
import { fleetSchema } from './schema.ts'

function fleetJsonSchema(): JsonSchema {
  const { $schema, ...schema } = z.toJSONSchema(fleetSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
  return { $schema, title: 'vmapipe fleet', ...schema }
}

/** As it is in the repository and printed by `vmapipe schema fleet`. */
export function fleetSchemaText(): string {
  return `${JSON.stringify(fleetJsonSchema(), null, 2)}\n`
}

/** The keys of the map at `path`. Those of `storages` are names, and below them is one map. */
export function knownKeys(path: Path): string[] {
  if (path.length === 2 && path[0] === 'storages') return ['parallel']
  return path.length > 0 ? [] : Object.keys(fleetJsonSchema().properties ?? {}).filter((key) => key !== '$schema')
}
