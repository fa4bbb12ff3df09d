import { jsonSchema, type Registry } from './schema.ts'

/** Makes the text of the JSON Schema, as it is committed. */
export function schemaText(registry: Registry): string {
  return `${JSON.stringify(jsonSchema(registry), null, 2)}\n`
}
