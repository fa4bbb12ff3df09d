import { jsonSchema, type Registry } from './schema.ts'

/** The committed form of the JSON Schema. */
export function schemaText(registry: Registry): string {
  return `${JSON.stringify(jsonSchema(registry), null, 2)}\n`
}
