/** Defines the structure of a pipeline config, for the loader and, as JSON Schema, for editors. */

import { LEAST_BUDGET } from '../core/budget.ts'
import { byteSize } from '../core/size-option.ts'
import { type BoundStage, type StageFactory, z } from '../core/stage.ts'

export type Registry = ReadonlyMap<string, StageFactory>

/** The values of a config, before its stages are joined to a pipeline. */
export interface PipelineParts {
  name?: string
  buffer?: number
  threads?: number
  verify?: boolean
  stages: readonly BoundStage[]
}

const parameter = z
  .strictObject({
    default: z.union([z.string(), z.number(), z.boolean()]).optional().describe('the value if --set gives none'),
    description: z.string().optional().describe('one line for users of the config'),
    required: z.boolean().optional().describe('the parameter must have a value, even if it is not used'),
  })
  .nullable()
  .transform((value) => value ?? {})

export const paramsSchema = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'a parameter is named with letters, digits and _'), parameter)
  .describe(
    `what may be set from outside: \${NAME} in a value is replaced from --set, from the default, or from the environment`,
  )

/** Everything except the options of stages, which each stage checks. */
export const pipelineSchema = z.strictObject({
  $schema: z.string().optional(),
  name: z.string().optional().describe('name of the pipeline in progress and messages'),
  description: z.string().optional(),
  params: paramsSchema.optional(),
  use: z
    .array(z.string().min(1))
    .optional()
    .describe(
      'modules with stages of your own: paths from the folder of the config (./my-stages.ts), and npm packages',
    ),
  buffer: byteSize({ min: LEAST_BUDGET }).optional().describe('memory for data in the pipeline, such as 64MiB'),
  threads: z
    .int()
    .min(1)
    .max(256)
    .optional()
    .describe('processor-bound tasks that run at once; the number of processors by default'),
  verify: z
    .boolean()
    .optional()
    .describe('read the archive back when it is complete, and check it (as vmapipe run --verify does)'),
  stages: z.array(z.unknown()).min(1).describe('the stages in the order of the data'),
})

/** A JSON Schema, as far as we read and change it. */
export interface JsonSchema {
  type?: string
  description?: string
  default?: unknown
  const?: unknown
  enum?: unknown[]
  pattern?: string
  minimum?: number
  maximum?: number
  anyOf?: JsonSchema[]
  properties?: Record<string, JsonSchema>
  required?: string[]
  items?: JsonSchema
  additionalProperties?: JsonSchema | boolean
  $ref?: string
  [keyword: string]: unknown
}

/** JSON Schema (draft 2020-12) of a config with the stages of `registry`. */
export function jsonSchema(registry: Registry): JsonSchema {
  const schema = toJson(pipelineSchema)
  const { buffer, threads, verify, stages, ...others } = schema.properties!
  const properties = {
    ...others,
    buffer: orReference(buffer),
    threads: orReference(threads),
    verify: orReference(verify),
    stages: { ...stages, items: { anyOf: stageItems(registry) } },
  }
  return {
    $schema: schema.$schema,
    title: 'vmapipe pipeline',
    ...schema,
    properties,
    $defs: { reference: { type: 'string', pattern: '\\$\\{', description: `a parameter, such as \${NAME}` } },
  }
}

/** JSON Schema of a stage's options. */
export function optionsJsonSchema(stage: StageFactory): JsonSchema {
  const { $schema: _, ...schema } = toJson(stage.definition.options)
  return tidy(schema)
}

function toJson(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
}

/** A plain name if a stage needs no options, or a map with the stage's name as its only key. */
function stageItems(registry: Registry): JsonSchema[] {
  const all = [...registry.values()].map((stage) => ({ ...stage.definition, schema: optionsJsonSchema(stage) }))
  const bare = all
    .filter(({ schema }) => (schema.required ?? []).length === 0 && schema.minProperties === undefined)
    .map(({ name }) => name)
  return [
    { enum: bare, description: 'a stage with no options' },
    ...all.map(({ name, summary, schema }) => ({
      type: 'object',
      properties: { [name]: { description: summary, ...withReferences(schema) } },
      required: [name],
      additionalProperties: false,
    })),
  ]
}

/** Adds text with `${NAME}` to the type of each option. */
function withReferences(schema: JsonSchema): JsonSchema {
  if (schema.properties === undefined) return schema
  const properties = Object.entries(schema.properties).map(([name, option]) => [name, orReference(option)])
  return { ...schema, properties: Object.fromEntries(properties) }
}

function orReference(schema: JsonSchema): JsonSchema {
  const free = schema.type === 'string' && schema.pattern === undefined && schema.enum === undefined
  const structured = schema.type === 'object' || schema.type === 'array'
  if (free || structured) return schema
  const { description, default: fallback, ...form } = schema
  const choices = form.anyOf ?? [form]
  return {
    ...(description !== undefined && { description }),
    ...(fallback !== undefined && { default: fallback }),
    anyOf: [...choices, { $ref: '#/$defs/reference' }],
  }
}

/** Leaves out options that only code can give (streams, functions). */
function tidy(schema: JsonSchema): JsonSchema {
  if (schema.properties === undefined) return schema
  const kept = Object.entries(schema.properties).flatMap(([name, option]) => {
    const choices = option.anyOf?.filter(hasForm)
    if (choices?.length === 1) return [[name, { ...option, ...choices[0], anyOf: undefined }]]
    if (choices !== undefined) return [[name, { ...option, anyOf: choices }]]
    return hasForm(option) ? [[name, option]] : []
  })
  return JSON.parse(JSON.stringify({ ...schema, properties: Object.fromEntries(kept) }))
}

function hasForm(schema: JsonSchema): boolean {
  return ['type', 'enum', 'const', 'anyOf', 'allOf', 'oneOf', '$ref'].some((keyword) => keyword in schema)
}

/** Makes the text of the JSON Schema, as it is committed. */
export function schemaText(registry: Registry): string {
  return `${JSON.stringify(jsonSchema(registry), null, 2)}\n`
}
