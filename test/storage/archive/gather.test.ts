import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { writeToStream } from '../../../src/storage/archive/gather.ts'

test('a stream gets the buffers as one gathered write', async () => {
  const calls: string[][] = []
  const stream = new Writable({
    writev(chunks, done) {
      calls.push(chunks.map(({ chunk }) => chunk.toString()))
      setImmediate(done)
    },
  })
  await writeToStream(stream, [Buffer.from('a'), Buffer.from('bc'), Buffer.from('d')])
  await writeToStream(stream, [])
  assert.deepEqual(calls, [['a', 'bc', 'd']])
})

test('the error of a stream is the error of the write', async () => {
  const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no more')) })
  stream.on('error', () => {})
  await assert.rejects(writeToStream(stream, [Buffer.from('a'), Buffer.from('b')]), { message: 'no more' })
})
