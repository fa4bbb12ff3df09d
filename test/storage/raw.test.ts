import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDriveReader, openDriveWriter } from '../../src/storage/open.ts'
import { tmpDir } from '../support/tmp.ts'
import { collect, readerContract, writerContract, writeSparse } from './contract.ts'

const timeout = 60_000

readerContract('raw file', {
  sparse: true,
  async open(t, image) {
    const path = join(tmpDir(t), 'disk.raw')
    writeSparse(path, image)
    return openDriveReader(path)
  },
})

writerContract('raw file', {
  async open(t, size) {
    const path = join(tmpDir(t), 'disk.raw')
    return { writer: await openDriveWriter(path, { size }), content: async () => readFileSync(path) }
  },
})

test('a huge sparse file is mapped at once', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'huge.raw')
  const size = 2 ** 40
  const fd = openSync(path, 'w')
  ftruncateSync(fd, size)
  const data = Buffer.alloc(65536, 1)
  for (let i = 0; i < 64; i++) writeSync(fd, data, 0, data.length, i * 2 ** 34)
  closeSync(fd)
  const reader = await openDriveReader(path)
  const start = performance.now()
  const extents = await collect(reader.map(0, size))
  assert.ok(performance.now() - start < 10_000)
  assert.equal(extents.filter(({ zero }) => !zero).length, 64)
  assert.equal(
    extents.reduce((sum, { length }) => sum + length, 0),
    size,
  )
  await reader.close()
})

test('mapping many extents lets others run in between', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'frayed.raw')
  const fd = openSync(path, 'w')
  for (let i = 0; i < 20_000; i++) writeSync(fd, 'x', i * 32768)
  closeSync(fd)
  const reader = await openDriveReader(path)
  let turns = 0
  let running = true
  const others = () => {
    turns++
    if (running) setImmediate(others)
  }
  others()
  const extents = await collect(reader.map(0, reader.size))
  running = false
  assert.equal(extents.filter(({ zero }) => !zero).length, 20_000)
  assert.ok(turns > 3, `${turns} turns of the event loop`)
  await reader.close()
})

test('a file that shrinks while it is read is an error with its place, in read and in map', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'disk.raw')
  writeFileSync(path, Buffer.alloc(100_000, 1))
  const reader = await openDriveReader(path)
  truncateSync(path, 50_000)
  await assert.rejects(reader.read(Buffer.alloc(20_000), 40_000), (error: any) => {
    assert.equal(error.code, 'FAILED')
    assert.match(error.line, /shrunk.*disk\.raw.*byte 50000/)
    return true
  })
  await assert.rejects(collect(reader.map(0, 100_000)), { message: /shrunk to 50000/ })
  await reader.close()
})

test('a file that grows while it is read is an error at its end, in read and in map', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'disk.raw')
  writeFileSync(path, Buffer.alloc(100_000, 1))
  const reader = await openDriveReader(path)
  truncateSync(path, 100_001)
  await reader.read(Buffer.alloc(20_000), 40_000)
  const grown = { code: 'FAILED', message: 'the file has grown to 100001 bytes', hint: /another program writes to it/ }
  await assert.rejects(reader.read(Buffer.alloc(50_000), 50_000), grown)
  await assert.rejects(collect(reader.map(0, 100_000)), grown)
  await reader.close()
})

test('what is neither a file nor a block device is refused without waiting for it', { timeout }, async (t) => {
  const dir = tmpDir(t)
  execFileSync('mkfifo', [join(dir, 'fifo')])
  await assert.rejects(openDriveReader(join(dir, 'fifo')), { message: /neither a file nor a block device/ })
  await assert.rejects(openDriveReader(dir), { message: /neither a file nor a block device/ })
  await assert.rejects(openDriveReader('/dev/zero'), { message: /neither a file nor a block device/ })
  await assert.rejects(openDriveReader(join(dir, 'none')), { message: /no such file.*none/ })
})

test('the final name appears with publish only', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk.raw')
  const writer = await openDriveWriter(path, { size: 1_000_000 })
  await writer.write([Buffer.from('abc')], 10)
  assert.match(readdirSync(dir).join(), /^\.disk\.raw\.[0-9a-f-]{34}\.partial$/)
  await writer.flush()
  await writer.publish()
  assert.deepEqual(readdirSync(dir), ['disk.raw'])
  await writer.close()
  assert.equal(statSync(path).size, 1_000_000)
  assert.ok(statSync(path).blocks * 512 < 100_000, 'not sparse')
})

test('what was not published leaves nothing', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const writer = await openDriveWriter(join(dir, 'disk.raw'), { size: 1000 })
  await writer.close()
  assert.deepEqual(readdirSync(dir), [])
})

test('a writer that is closed with writes in flight waits for them, and leaves nothing', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const writer = await openDriveWriter(join(dir, 'disk.raw'), { size: 64 << 20 })
  let done = 0
  const writes = Array.from({ length: 8 }, async (_, i) => {
    await writer.write([Buffer.alloc(8 << 20, 1)], i * (8 << 20))
    done++
  })
  await writer.close()
  assert.equal(done, 8)
  assert.deepEqual(readdirSync(dir), [])
  await Promise.all(writes)
})

test('a process that exits in the middle leaves nothing', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const script = `const { openDriveWriter } = await import('${new URL('../../src/storage/open.ts', import.meta.url)}')
    await openDriveWriter(${JSON.stringify(join(dir, 'disk.raw'))}, { size: 1000 })
    process.exit(0)`
  execFileSync(process.execPath, ['--input-type=module', '-e', script])
  assert.deepEqual(readdirSync(dir), [])
})

test('an existing file is refused, and with force replaced by one for its owner alone', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'disk.raw')
  writeFileSync(path, 'old', { mode: 0o644 })
  await assert.rejects(openDriveWriter(path, { size: 4 }), {
    message: /exists and was not overwritten/,
    hint: /--force/,
  })
  const writer = await openDriveWriter(path, { size: 4, force: true })
  await writer.write([Buffer.from('new!')], 0)
  assert.equal(readFileSync(path, 'utf8'), 'old')
  await writer.publish()
  await writer.close()
  assert.equal(readFileSync(path, 'utf8'), 'new!')
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('a file that appears meanwhile is not overwritten', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk.raw')
  const writer = await openDriveWriter(path, { size: 4 })
  writeFileSync(path, 'theirs')
  await assert.rejects(writer.publish(), { message: /has appeared meanwhile/ })
  await writer.close()
  assert.deepEqual(readdirSync(dir), ['disk.raw'])
  assert.equal(readFileSync(path, 'utf8'), 'theirs')
})

test('a symbolic link at the final name is not followed', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const victim = join(dir, 'victim')
  writeFileSync(victim, 'precious')
  symlinkSync(victim, join(dir, 'link.raw'))
  await assert.rejects(openDriveWriter(join(dir, 'link.raw'), { size: 4 }), {
    message: /exists and was not overwritten/,
  })
  const writer = await openDriveWriter(join(dir, 'link.raw'), { size: 4, force: true })
  await writer.publish()
  await writer.close()
  assert.equal(readFileSync(victim, 'utf8'), 'precious')
})

test('what is read is not written over, whatever name it has', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk.raw')
  writeFileSync(path, 'precious')
  linkSync(path, join(dir, 'other'))
  const reader = await openDriveReader(path)
  const refused = { code: 'USAGE', message: /read by this very run/ }
  await assert.rejects(openDriveWriter(path, { size: 1, force: true }), refused)
  await assert.rejects(openDriveWriter(join(dir, 'other'), { size: 1, force: true }), refused)
  await reader.close()
  await (await openDriveWriter(path, { size: 1, force: true })).close()
  assert.equal(readFileSync(path, 'utf8'), 'precious')
})

test('one file is not written twice at once', { timeout }, async (t) => {
  const dir = tmpDir(t)
  symlinkSync('.', join(dir, 'again'))
  const writer = await openDriveWriter(join(dir, 'disk.raw'), { size: 1 })
  const second = openDriveWriter(join(dir, 'again/disk.raw'), { size: 1, force: true })
  await assert.rejects(second, { code: 'USAGE', message: /by this very process/ })
  await writer.close()
})

test('a folder that is not there, or a folder in the place of the file, is a clear error', { timeout }, async (t) => {
  const dir = tmpDir(t)
  mkdirSync(join(dir, 'disk.raw'))
  await assert.rejects(openDriveWriter(join(dir, 'no', 'disk.raw'), { size: 1 }), { message: /no such file/ })
  await assert.rejects(openDriveWriter(join(dir, 'disk.raw'), { size: 1, force: true }), { message: /is not a file/ })
})
