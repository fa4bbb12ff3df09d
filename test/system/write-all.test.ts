import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { descriptorFile, skip, writeAll } from '../../src/system/write-all.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 60_000

const views = (count: number) => Array.from({ length: count }, (_, index) => Buffer.from(`${index},`.repeat(index % 7)))

test('more views than one system call takes arrive whole and in order', async (t) => {
  const path = join(tmpDir(t), 'out')
  const fd = openSync(path, 'w')
  const buffers = views(5000)
  await writeAll(descriptorFile(fd), buffers, 3)
  closeSync(fd)
  assert.deepEqual(readFileSync(path), Buffer.concat([Buffer.alloc(3), ...buffers]))
})

test('without a position the bytes go where the file stands', async (t) => {
  const path = join(tmpDir(t), 'out')
  const fd = openSync(path, 'w')
  writeSync(fd, 'before ')
  await writeAll(descriptorFile(fd), [Buffer.from('a'), Buffer.from('b')], null)
  writeSync(fd, ' after')
  closeSync(fd)
  assert.equal(readFileSync(path, 'utf8'), 'before ab after')
})

test('a full device is an error', async () => {
  const fd = openSync('/dev/full', 'w')
  await assert.rejects(writeAll(descriptorFile(fd), [Buffer.from('x')], null), { code: 'ENOSPC' })
  closeSync(fd)
})

test('what a short write took is skipped, wherever it ended', () => {
  const buffers = ['abc', '', 'd', 'ef'].map((text) => Buffer.from(text))
  for (let bytes = 0; bytes <= 6; bytes++) {
    assert.equal(Buffer.concat(skip(buffers, bytes)).toString(), 'abcdef'.slice(bytes))
  }
})

test('writeAll goes on after short writes and takes any number of buffers', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'out')
  const file = await open(path, 'w+')
  const whole = Buffer.from(Array.from({ length: 9000 }, (_, i) => i % 251))
  const buffers = Array.from({ length: 3000 }, (_, i) => whole.subarray(i * 3, i * 3 + 3))
  let calls = 0
  const stingy = {
    async writev(batch: Uint8Array[], position: number) {
      assert.ok(batch.length <= 1024)
      const bytes = Buffer.concat(batch).subarray(0, 1 + (calls++ % 700))
      await file.write(bytes, 0, bytes.length, position)
      return { bytesWritten: bytes.length, buffers: batch }
    },
  }
  await writeAll(stingy as any, [Buffer.alloc(0), ...buffers, Buffer.alloc(0)], 5)
  await file.close()
  assert.ok(readFileSync(path).subarray(5).equals(whole))
})
