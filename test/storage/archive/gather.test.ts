import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { skip, writeToFile, writeToStream } from '../../../src/storage/archive/gather.ts'
import { tmpDir } from '../../support/tmp.ts'

const views = (count: number) => Array.from({ length: count }, (_, index) => Buffer.from(`${index},`.repeat(index % 7)))

test('more views than one system call takes arrive whole and in order', async (t) => {
  const path = join(tmpDir(t), 'out')
  const fd = openSync(path, 'w')
  const buffers = views(5000)
  await writeToFile(fd, buffers, 3)
  closeSync(fd)
  assert.deepEqual(readFileSync(path), Buffer.concat([Buffer.alloc(3), ...buffers]))
})

test('without a position the bytes go where the file stands', async (t) => {
  const path = join(tmpDir(t), 'out')
  const fd = openSync(path, 'w')
  writeSync(fd, 'before ')
  await writeToFile(fd, [Buffer.from('a'), Buffer.from('b')], null)
  writeSync(fd, ' after')
  closeSync(fd)
  assert.equal(readFileSync(path, 'utf8'), 'before ab after')
})

test('a full device is an error', async () => {
  const fd = openSync('/dev/full', 'w')
  await assert.rejects(writeToFile(fd, [Buffer.from('x')], null), { code: 'ENOSPC' })
  closeSync(fd)
})

test('what a short write took is skipped, wherever it ended', () => {
  const buffers = ['abc', '', 'd', 'ef'].map((text) => Buffer.from(text))
  for (let bytes = 0; bytes <= 6; bytes++) {
    assert.equal(Buffer.concat(skip(buffers, bytes)).toString(), 'abcdef'.slice(bytes))
  }
})

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
