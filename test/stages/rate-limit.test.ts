import assert from 'node:assert/strict'
import { test } from 'node:test'
import { definePipeline } from '../../src/core/pipeline.ts'
import { AdjustableRate, rateLimit } from '../../src/stages/rate-limit.ts'
import { chunksOf, collectBytes } from '../support/bytes.ts'

test('a rate so low that a timer cannot hold the wait lets nothing pass, and ends when aborted', {
  timeout: 60_000,
}, async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => void warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const output = collectBytes()
  // 4 MiB at a byte a second take 48 days; a timer of Node takes 24.
  const stages = [chunksOf([Buffer.alloc(4 << 20)]), rateLimit({ rate: 1 }), output.stage]
  await assert.rejects(definePipeline(stages).run({ signal: AbortSignal.timeout(200) }), { code: 'ABORTED' })
  assert.equal(output.bytes().length, 0)
  assert.deepEqual(warnings, [])
})

test('a rate that is raised counts for what waits already', { timeout: 60_000 }, async () => {
  const output = collectBytes()
  const dial = new AdjustableRate(1)
  const stages = [chunksOf([Buffer.alloc(4 << 20)]), rateLimit({ rate: 1, dial }), output.stage]
  const run = definePipeline(stages).run()
  setTimeout(() => {
    dial.bytes = 2
    dial.bytes = 100 << 20
  }, 200)
  await run
  assert.equal(output.bytes().length, 4 << 20)
})
