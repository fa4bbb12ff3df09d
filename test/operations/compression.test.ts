import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { compressionOf, parseCompression } from '../../src/operations/compression.ts'

const usage = (error: unknown) => error instanceof VmapipeError && error.code === 'USAGE'

test('a suffix tells the compression, also of a URL', () => {
  assert.deepEqual(compressionOf('a/vm.vma'), { method: 'none' })
  assert.deepEqual(compressionOf('vm.vma.zst'), { method: 'zstd' })
  assert.deepEqual(compressionOf('ssh://u@h/vm.vma.lz4'), { method: 'lz4' })
  assert.deepEqual(compressionOf('vm.vma.gz'), { method: 'gzip' })
})

test('a pipe is not compressed unless told to', () => {
  assert.deepEqual(compressionOf('-'), { method: 'none' })
  assert.deepEqual(compressionOf('exec:cat > x.tar'), { method: 'none' })
})

test('a suffix that says nothing is refused', () => {
  for (const name of ['vm', 'vm.zst', 'vm.vma.xz', 'vma', 'vm.vma.ZST'])
    assert.throws(() => compressionOf(name), usage, name)
})

test('a method may have a level where it has any', () => {
  assert.deepEqual(parseCompression('zstd'), { method: 'zstd' })
  assert.deepEqual(parseCompression('zstd:-5'), { method: 'zstd', level: -5 })
  assert.deepEqual(parseCompression('gzip:9'), { method: 'gzip', level: 9 })
  for (const text of ['', 'zst', 'zstd:', 'zstd:high', 'zstd:3:4', 'lz4:1', 'none:1', 'ZSTD', 'zstd:1e2'])
    assert.throws(() => parseCompression(text), usage, text)
})

test('frames may be smaller, for archives that are read in any order', () => {
  assert.deepEqual(parseCompression('zstd,frame=128KiB'), { method: 'zstd', frame: 131072 })
  assert.deepEqual(parseCompression('gzip:9,frame=1M'), { method: 'gzip', level: 9, frame: 1 << 20 })
  assert.deepEqual(parseCompression('lz4,frame=65536'), { method: 'lz4', frame: 65536 })
  for (const text of [
    'none,frame=1M',
    'zstd,frame=',
    'zstd,frame=much',
    'zstd,frame=1M,frame=2M',
    'lz4:1,frame=1M',
    ',frame=1M',
  ])
    assert.throws(() => parseCompression(text), usage, text)
})
