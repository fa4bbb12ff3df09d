import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { Counters } from '../../src/core/counters.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import { source } from '../../src/stages/source.ts'
import { collectBytes } from '../support/bytes.ts'
import { tmpDir } from '../support/tmp.ts'

async function bytesFrom(from: string | Readable, options?: RunOptions): Promise<Buffer> {
  const { stage, bytes } = collectBytes()
  await definePipeline([source({ from }), stage]).run(options)
  return bytes()
}

test('a file is read in order, its size is the total, and its bytes are counted', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  const data = Buffer.from(Uint32Array.from({ length: 3 << 20 }, (_, index) => index).buffer)
  writeFileSync(path, data)
  const counters = new Counters()
  assert.ok((await bytesFrom(path, { counters, buffer: 8 << 20 })).equals(data))
  assert.deepEqual(counters.toJSON(), { total: data.length, read: data.length, done: data.length })
})

test('a source whose size nobody knows has no total', async () => {
  const counters = new Counters()
  assert.equal((await bytesFrom('exec:printf abc', { counters })).toString(), 'abc')
  assert.deepEqual(counters.toJSON(), { read: 3 })
})

test('a Node stream is a source', async () => {
  assert.equal((await bytesFrom(Readable.from([Buffer.from('a'), Buffer.from('b')]))).toString(), 'ab')
})

test('an abort ends a read that waits, and destroys the stream', { timeout: 60_000 }, async () => {
  const stream = new PassThrough()
  const controller = new AbortController()
  const run = bytesFrom(stream, { signal: controller.signal })
  setTimeout(() => controller.abort(), 20)
  await assert.rejects(run, { code: 'ABORTED' })
  assert.ok(stream.destroyed)
})

test('a source that fails names itself', async () => {
  await assert.rejects(bytesFrom('/no/such/archive'), { stage: 'source', code: 'FAILED', message: /no such file/ })
})

test('options that make no sense are refused', () => {
  assert.throws(() => source({} as never), { code: 'USAGE', message: /option from: expected a path/ })
  assert.throws(() => source({ from: new Uint8Array(1) } as never), { code: 'USAGE', message: /option from/ })
})
