import assert from 'node:assert/strict'
import { test } from 'node:test'
import { definePipeline } from '../../src/core/pipeline.ts'
import { fault } from '../../src/stages/fault.ts'
import { until } from '../storage/archive/processes.ts'
import { chunksOf, collectBytes, throughBytes } from '../support/bytes.ts'

const chunks = [Buffer.from('0123456789'), Buffer.from('abcdefghij'), Buffer.from('ABCDEFGHIJ')]

async function failing(options: Parameters<typeof fault>[0], error: object): Promise<string> {
  const output = collectBytes()
  await assert.rejects(definePipeline([chunksOf(chunks), fault(options), output.stage]).run(), error)
  return output.bytes().toString()
}

test('an error comes with its code and message, at its stage', async () => {
  await failing({ 'at-byte': 15 }, { code: 'FAILED', stage: 'fault', message: 'a fault that was asked for' })
  await failing({ 'at-item': 1, code: 'DAMAGED', message: 'rotten' }, { code: 'DAMAGED', message: 'rotten' })
})

test('what is short ends at exactly its byte or item', async () => {
  const short = async (at: object) => (await throughBytes(fault({ mode: 'short', ...at }), chunks)).toString()
  assert.equal(await short({ 'at-byte': 0 }), '')
  assert.equal(await short({ 'at-byte': 10 }), '0123456789')
  assert.equal(await short({ 'at-byte': 15 }), '0123456789abcde')
  assert.equal(await short({ 'at-byte': 99 }), '0123456789abcdefghijABCDEFGHIJ')
  assert.equal(await short({ 'at-item': 2 }), '0123456789abcdefghij')
})

test('a fault behind the last byte happens at the end of the input, and one further on not at all', async () => {
  await failing({ 'at-byte': 30 }, { code: 'FAILED' })
  await failing({ 'at-item': 3 }, { code: 'FAILED' })
  assert.equal((await throughBytes(fault({ 'at-byte': 31 }), chunks)).length, 30)
})

test('what hangs ends when the run is aborted', { timeout: 60_000 }, async () => {
  const output = collectBytes()
  const given = new AbortController()
  const hanging = definePipeline([chunksOf(chunks), fault({ mode: 'hang', 'at-byte': 15 }), output.stage])
  const aborted = assert.rejects(hanging.run({ signal: given.signal }), { code: 'ABORTED' })
  await until(() => output.bytes().length === 15, 'what is before the fault has come')
  given.abort()
  await aborted
  assert.equal(output.bytes().toString(), '0123456789abcde')
})

test('the place is a byte or an item, and one of them', () => {
  for (const options of [{}, { 'at-byte': 1, 'at-item': 1 }]) {
    assert.throws(() => fault(options), { code: 'USAGE', message: /expected at-byte or at-item/ })
  }
})
