import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { jsonSchema, optionsJsonSchema } from '../../src/config/schema.ts'
import { registry } from './fakes.ts'

const schema: any = jsonSchema(registry)
const itemOf = (name: string) => schema.properties.stages.items.anyOf.find((item: any) => item.properties?.[name])

test('each stage is a map with one key, and its options are described', () => {
  const { properties } = itemOf('compressor').properties.compressor
  assert.equal(properties.level.description, 'more is smaller')
  assert.equal(itemOf('compressor').additionalProperties, false)
  assert.deepEqual(itemOf('source').properties.source.required, ['from'])
})

test('a stage without options that must be given may stand as a bare name', () => {
  assert.deepEqual(schema.properties.stages.items.anyOf[0].enum, ['compressor'])
})

test('a number or a choice may also be a parameter', () => {
  const reference = { $ref: '#/$defs/reference' }
  const { level, method } = itemOf('compressor').properties.compressor.properties
  assert.ok(level.anyOf.some((choice: any) => choice.$ref === reference.$ref))
  assert.ok(method.anyOf.some((choice: any) => choice.$ref === reference.$ref))
  assert.ok(schema.properties.buffer.anyOf.some((choice: any) => choice.$ref === reference.$ref))
  assert.match(`\${LEVEL}`, new RegExp(schema.$defs.reference.pattern))
})

test('what only code can give is not offered', () => {
  const source = registry.get('source')!
  assert.deepEqual(Object.keys(optionsJsonSchema(source).properties!), ['from'])
})

test('the committed schema is that of the stages as they are (npm run schema writes it)', async () => {
  const { stages } = await import('../../src/config/registry.ts')
  const { schemaText } = await import('../../src/config/schema.ts')
  const committed = new URL('../../pipelines/pipeline.schema.json', import.meta.url)
  assert.equal(readFileSync(committed, 'utf8'), schemaText(stages))
})

test('the table of stages in pipelines/README.md is that of the stages as they are (npm run schema writes it)', async () => {
  const { stages } = await import('../../src/config/registry.ts')
  const { withStageTable } = await import('../../src/config/stage-table.ts')
  const page = readFileSync(new URL('../../pipelines/README.md', import.meta.url), 'utf8')
  assert.equal(page, withStageTable(page, stages))
})
