import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { Budget } from '../../src/core/budget.ts'
import { Counters } from '../../src/core/counters.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { Chunk } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { sink } from '../../src/stages/sink.ts'
import { itemsOf } from '../support/flow.ts'
import { tmpDir } from '../support/tmp.ts'

const chunk = (text: string) => new Chunk([Buffer.from(text)])

test('chunks are written in order, counted, and given back', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  const budget = new Budget(100)
  const counters = new Counters()
  const items = async function* () {
    for (let index = 0; index < 50; index++) {
      const lease = await budget.charge(10)
      yield new Chunk([Buffer.from(`${index} `), Buffer.from('and ')], [lease])
    }
  }
  await definePipeline([itemsOf('bytes', items()), sink({ to: path })]).run({ counters })
  const text = Array.from({ length: 50 }, (_, index) => `${index} and `).join('')
  assert.equal(readFileSync(path, 'utf8'), text)
  assert.equal(counters.get('written'), text.length)
  assert.equal(budget.used, 0)
})

test('the error of another stage leaves nothing under the name', async (t) => {
  const dir = tmpDir(t)
  const items = async function* () {
    yield chunk('half')
    throw new VmapipeError('FAILED', 'the disk is gone')
  }
  const run = definePipeline([itemsOf('bytes', items()), sink({ to: join(dir, 'vm.vma') })]).run()
  await assert.rejects(run, { stage: 'items', message: 'the disk is gone' })
  assert.deepEqual(readdirSync(dir), [])
})

test('a chunk that could not be written is given back, and the error names the sink', async () => {
  const budget = new Budget(100)
  const items = [new Chunk([Buffer.from('x')], [await budget.charge(10)])]
  const run = definePipeline([itemsOf('bytes', items), sink({ to: '/dev/full' })]).run()
  await assert.rejects(run, { stage: 'sink', code: 'FAILED', message: /no space left/ })
  assert.equal(budget.used, 0)
})

test('a Node stream is a sink', async () => {
  const stream = new PassThrough()
  const text = buffer(stream)
  await definePipeline([itemsOf('bytes', [chunk('a'), chunk('b')]), sink({ to: stream })]).run()
  assert.equal((await text).toString(), 'ab')
})

test('an abort ends a write that nobody takes, and destroys the stream', { timeout: 60_000 }, async () => {
  const stream = new Writable({ write: () => {} })
  const controller = new AbortController()
  const run = definePipeline([itemsOf('bytes', [chunk('a')]), sink({ to: stream })]).run({ signal: controller.signal })
  setTimeout(() => controller.abort(), 20)
  await assert.rejects(run, { code: 'ABORTED' })
  assert.ok(stream.destroyed)
})

test('options that make no sense are refused', () => {
  assert.throws(() => sink({} as never), { code: 'USAGE', message: /option to: expected a path/ })
  assert.throws(() => sink({ to: 5 } as never), { code: 'USAGE', message: /option to: expected a path/ })
  assert.throws(() => sink({ to: new PassThrough(), forced: true } as never), { code: 'USAGE', message: /forced/ })
})
