import assert from 'node:assert/strict'
import { test } from 'node:test'
import { definePipeline } from '../../src/core/pipeline.ts'
import { delay } from '../../src/stages/delay.ts'
import { progress } from '../../src/stages/progress.ts'
import { chunksOf, collectBytes } from '../support/bytes.ts'

test('it tells how many bytes have passed at its place, and all of them at the end', async () => {
  const lines: { text: string; fields: unknown }[] = []
  const inform = (text: string, fields?: object) => void lines.push({ text, fields })
  const chunks = Array.from({ length: 4 }, () => Buffer.alloc(1024))
  const stages = [chunksOf(chunks), delay({ ms: 30 }), progress({ every: 0.05, name: 'tape' }), collectBytes().stage]
  const { conclusions } = await definePipeline(stages as never).run({ inform })
  assert.ok(lines.length >= 2)
  for (const { text } of lines) assert.match(text, /^tape: [\d.]+ (B|KiB), [\d.]+ (B|KiB)\/s$/)
  assert.match(conclusions[0], /^tape: 4\.0 KiB, /)
  assert.equal((lines.at(-1)!.fields as { passed: { bytes: number } }).passed.bytes, 4096)
})
