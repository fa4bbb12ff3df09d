/** Describes a stage and its options for people, from the schema of the options. */

import { type JsonSchema, optionsJsonSchema } from '../config/schema.ts'
import type { StageFactory } from '../core/stage.ts'
import { columns, styled } from './text.ts'

export function describeStage(stage: StageFactory): string[] {
  const { name, input, output, summary } = stage.definition
  const { properties = {}, required = [] } = optionsJsonSchema(stage)
  const rows = Object.entries(properties).map(([option, schema]) => [
    `  ${option}`,
    typeText(schema),
    required.includes(option) ? 'required' : schema.default === undefined ? '' : `default ${valueText(schema.default)}`,
    schema.description ?? '',
  ])
  const options = rows.length === 0 ? ['no options'] : ['options:', ...columns(rows)]
  return [`${styled('bold', name)}  ${input} → ${output}`, summary, '', ...options]
}

/** Describes a JSON Schema in a few words: "zstd | lz4", "whole number -7..19", "text", "list of text". */
function typeText(schema: JsonSchema): string {
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeText))].join(' | ')
  if (schema.enum) return schema.enum.map(valueText).join(' | ')
  if ('const' in schema) return valueText(schema.const)
  switch (schema.type) {
    case 'integer':
    case 'number':
      return `${schema.type === 'integer' ? 'whole number' : 'number'}${rangeText(schema)}`
    case 'boolean':
      return 'true | false'
    case 'array':
      return `list of ${typeText(schema.items ?? {})}`
    case 'object':
      if (schema.properties !== undefined) return `map with ${Object.keys(schema.properties).join(', ')}`
      return `map of names to ${typeText(valuesOf(schema))}`
    default:
      return schema.pattern?.includes('[kKmM') ? 'size' : 'text'
  }
}

/** The schema of a map's values. */
function valuesOf({ additionalProperties }: JsonSchema): JsonSchema {
  return typeof additionalProperties === 'object' ? additionalProperties : {}
}

function rangeText({ minimum, maximum }: { minimum?: number; maximum?: number }): string {
  const upper = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum
  const lower = minimum === -Number.MAX_SAFE_INTEGER ? undefined : minimum
  return lower === undefined && upper === undefined ? '' : ` ${lower ?? ''}..${upper ?? ''}`
}

function valueText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
