/** Stages that do nothing, with options of every kind. */

import type { Registry } from '../../src/config/schema.ts'
import { byteRate } from '../../src/core/size-option.ts'
import { defineStage, type StageFactory, z } from '../../src/core/stage.ts'

const source = defineStage({
  name: 'source',
  summary: 'gives nothing',
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({
    from: z.string().describe('where it comes from'),
    extra: z.custom<() => void>((value) => typeof value === 'function').optional(),
  }),
  create: () => ({ read: () => null }),
})

const compressor = defineStage({
  name: 'compressor',
  summary: 'passes on',
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({
    method: z.enum(['zstd', 'lz4', 'none']).default('zstd'),
    level: z.int().min(-7).max(19).optional().describe('more is smaller'),
    checked: z.boolean().default(true),
    only: z.union([z.boolean(), z.array(z.string())]).default(false),
  }),
  create: () => (item) => item,
})

const rateLimit = defineStage({
  name: 'rate-limit',
  summary: 'slows down',
  input: 'any',
  output: 'same',
  options: z.strictObject({ rate: byteRate() }),
  create: () => (item) => item,
})

const sink = defineStage({
  name: 'sink',
  summary: 'takes all',
  input: 'bytes',
  output: 'nothing',
  options: z.strictObject({
    to: z.string(),
    force: z.boolean().default(false),
    drives: z.record(z.string(), z.string()).default({}),
  }),
  create: () => ({ write() {} }),
})

export const registry: Registry = new Map(
  [source, compressor, rateLimit, sink].map((stage) => [stage.definition.name, stage as unknown as StageFactory]),
)
