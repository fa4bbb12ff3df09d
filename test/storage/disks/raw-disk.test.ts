import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { syscalls } from '../../../src/system/syscalls.ts'
import { qemuNbd } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { readerContract, writerContract } from '../contract.ts'
import { asReader, asWriter } from './as-drive.ts'

const timeout = 60_000
const MiB = 2 ** 20

function image(t: Pick<TestContext, 'after'>, content: Buffer): string {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, content)
  return path
}

readerContract('raw disk', {
  open: async (t, content) => asReader(await openDisk(image(t, content))),
})

writerContract('raw disk', {
  async open(t, size) {
    const path = image(t, Buffer.alloc(size, 0x5a))
    return { writer: asWriter(await openDisk(path)), content: async () => readFileSync(path) }
  },
})

test('what is in the page cache is read at once, the rest is waited for; both are right', { timeout }, async (t) => {
  const content = Buffer.from(Array.from({ length: 256 * 1024 }, (_, i) => i % 253))
  const path = image(t, content)
  const disk = await openDisk(path)
  t.after(() => disk.close())
  const file = await open(path)
  const buffer = Buffer.alloc(4096)
  const inCache = (syscalls()?.readCached(file.fd, buffer, 0) ?? -1) === 4096
  await file.close()
  const done = disk.read(buffer, 8192)
  assert.equal(done === undefined, inCache, 'no promise where nothing has to be waited for')
  await done
  assert.ok(buffer.equals(content.subarray(8192, 12_288)))
  const whole = Buffer.alloc(content.length)
  assert.ok(disk.read(whole, 0) instanceof Promise, 'what takes long is never done in the calling thread')
  await disk.read(whole, 0)
  assert.ok(whole.equals(content))
})

test('a flush is an fdatasync of the file, a durable write goes through a descriptor with O_DSYNC', {
  timeout,
}, async (t) => {
  const path = image(t, Buffer.alloc(MiB))
  const probe = await open(path)
  const prototype = Object.getPrototypeOf(probe)
  await probe.close()
  const datasync = t.mock.method(prototype, 'datasync')
  const disk = await openDisk(path)
  t.after(() => disk.close())
  const before = readFileSync(path)
  await disk.write([Buffer.from('plain')], 0)
  assert.equal(datasync.mock.callCount(), 0)
  await disk.flush()
  assert.equal(datasync.mock.callCount(), 1)
  await disk.zero(0, 8192, { fua: true })
  await disk.trim(0, 8192, { fua: true })
  assert.equal(datasync.mock.callCount(), 3)
  await disk.write([Buffer.from('dur'), Buffer.from('able')], 100_000, { fua: true })
  assert.equal(datasync.mock.callCount(), 3, 'it is durable by itself')
  before.write('durable', 100_000)
  assert.ok(readFileSync(path).equals(before))
  const flags = readdirSync('/proc/self/fd')
    .filter((fd) => linkOf(fd) === path)
    .map((fd) => Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1], 8))
  assert.deepEqual(flags.map((flag) => (flag & 0o10000) !== 0).sort(), [false, true])
})

test('a failed flush is failed for ever, and durable writes with it; plain writes and reads go on', {
  timeout,
}, async (t) => {
  const path = image(t, Buffer.alloc(MiB))
  const probe = await open(path)
  const prototype = Object.getPrototypeOf(probe)
  await probe.close()
  const disk = await openDisk(path)
  t.after(() => disk.close())
  const eio = Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', syscall: 'fdatasync' })
  t.mock.method(prototype, 'datasync', () => Promise.reject(eio), { times: 1 })
  await assert.rejects(async () => disk.flush(), { cause: eio })
  await assert.rejects(async () => disk.flush(), { cause: eio })
  await assert.rejects(async () => disk.write([Buffer.alloc(1)], 0, { fua: true }), { cause: eio })
  await disk.write([Buffer.from('on')], 0)
  const buffer = Buffer.alloc(2)
  await disk.read(buffer, 0)
  assert.equal(buffer.toString(), 'on')
})

test('zeroes make holes, or not where none are wanted; a trim gives whole blocks back', { timeout }, async (t) => {
  const path = image(t, Buffer.alloc(8 * MiB, 1))
  const disk = await openDisk(path)
  t.after(() => disk.close())
  const allocated = () => statSync(path).blocks * 512
  const expected = Buffer.alloc(8 * MiB, 1)
  const full = allocated()
  assert.ok(full >= 8 * MiB)
  await disk.zero(1000, 2 * MiB, { noHole: true })
  expected.fill(0, 1000, 1000 + 2 * MiB)
  assert.ok(allocated() >= 8 * MiB)
  await disk.zero(3 * MiB - 5, 2 * MiB, { fast: true })
  expected.fill(0, 3 * MiB - 5, 5 * MiB - 5)
  assert.ok(allocated() <= full - 2 * MiB + 65536)
  assert.ok(readFileSync(path).equals(expected))
  await disk.trim(6 * MiB + 1, MiB)
  assert.ok(allocated() <= full - 3 * MiB + 2 * 65536)
  const after = readFileSync(path)
  assert.ok(after.subarray(0, 6 * MiB + 1).equals(expected.subarray(0, 6 * MiB + 1)), 'nothing before it is touched')
  assert.ok(after.subarray(7 * MiB + 1).equals(expected.subarray(7 * MiB + 1)), 'nor after it')
})

test('a trim that spans no whole block does nothing, wherever it lies', { timeout }, async (t) => {
  const path = image(t, Buffer.alloc(3 * 4096 + 100, 1))
  const disk = await openDisk(path)
  t.after(() => disk.close())
  for (const [offset, length] of [
    [0, 0],
    [1, 8190],
    [4096, 4095],
    [12_288, 100],
  ]) {
    await disk.trim(offset, length)
  }
  assert.ok(readFileSync(path).equals(Buffer.alloc(3 * 4096 + 100, 1)))
})

test("a second server is refused, ours and QEMU's, and readers that bear no writer", {
  timeout,
  ...needs('qemu-io', 'qemu-nbd'),
}, async (t) => {
  const path = image(t, Buffer.alloc(MiB))
  const disk = await openDisk(path)
  await assert.rejects(openDisk(path), { code: 'FAILED', message: /in use by this very process/ })
  await assert.rejects(openDisk(path, { readOnly: true }), { code: 'FAILED' })
  const write = () => spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', path], { encoding: 'utf8' })
  assert.match(write().stderr, /lock/)
  await disk.close()
  assert.equal(write().status, 0)
  const two = [await openDisk(path, { readOnly: true }), await openDisk(path, { readOnly: true })]
  await assert.rejects(openDisk(path), { code: 'FAILED' })
  for (const reader of two) await reader.close()
  // qemu-nbd listens before it opens the image; when it has answered it has it.
  const theirs = await openDisk(await qemuNbd(t, join(tmpDir(t), 's'), ['--format=raw', path]))
  await assert.rejects(openDisk(path), { code: 'FAILED', message: /in use/ })
  await theirs.close()
})

test('a closed disk does nothing more, after what is in flight; closing twice is once', { timeout }, async (t) => {
  const path = image(t, Buffer.alloc(MiB))
  const disk = await openDisk(path)
  const writes = Array.from({ length: 16 }, (_, i) => disk.write([Buffer.alloc(65536, i + 1)], i * 65536))
  await Promise.all([disk.close(), disk.close(), ...writes])
  assert.ok(readFileSync(path).every((byte, i) => byte === Math.floor(i / 65536) + 1))
  for (const call of [
    () => disk.read(Buffer.alloc(1), 0),
    () => disk.write([Buffer.alloc(1)], 0),
    () => disk.zero(0, 1),
    () => disk.trim(0, 1),
    () => disk.flush(),
  ]) {
    await assert.rejects(async () => call(), { code: 'FAILED', message: /closed/ })
  }
  assert.ok(!readdirSync('/proc/self/fd').some((fd) => linkOf(fd) === path), 'no descriptor is left')
})

test('nothing is read or written outside of the disk', { timeout }, async (t) => {
  const path = image(t, Buffer.alloc(10_000, 7))
  const disk = await openDisk(path)
  t.after(() => disk.close())
  for (const call of [
    () => disk.read(Buffer.alloc(2), 9999),
    () => disk.write([Buffer.alloc(5000), Buffer.alloc(5001)], 0),
    () => disk.write([Buffer.alloc(1)], -1),
    () => disk.zero(9999, 2, { fua: true }),
    () => disk.trim(0, 2 ** 53),
    () => disk.prefetch?.(1, Number.NaN),
  ]) {
    await assert.rejects(async () => call(), { code: 'STAGE' })
  }
  assert.ok(readFileSync(path).equals(Buffer.alloc(10_000, 7)))
})

test('a file that has shrunk under it is an error of that read', { timeout }, async (t) => {
  const path = image(t, Buffer.alloc(100_000, 7))
  const disk = await openDisk(path)
  t.after(() => disk.close())
  truncateSync(path, 50_000)
  await assert.rejects(async () => disk.read(Buffer.alloc(100), 49_950), {
    code: 'FAILED',
    where: { file: path, offset: 50_000 },
  })
  await disk.read(Buffer.alloc(100), 0)
})

test('what is not there, a folder, a FIFO: refused in one line', { timeout }, async (t) => {
  const folder = tmpDir(t)
  await assert.rejects(openDisk(join(folder, 'none')), { code: 'FAILED', message: /no such file/ })
  mkdirSync(join(folder, 'dir'))
  await assert.rejects(openDisk(join(folder, 'dir')))
  execFileSync('mkfifo', [join(folder, 'fifo')])
  await assert.rejects(openDisk(join(folder, 'fifo')), { code: 'USAGE', message: /neither a file nor/ })
})

test('a read-only disk opens a file that may only be read', { timeout }, async (t) => {
  const path = image(t, Buffer.from('read me'))
  execFileSync('chmod', ['444', path])
  const disk = await openDisk(path, { readOnly: true })
  t.after(() => disk.close())
  assert.equal(disk.readOnly, true)
  const buffer = Buffer.alloc(7)
  await disk.read(buffer, 0)
  assert.equal(buffer.toString(), 'read me')
  await assert.rejects(async () => disk.write([Buffer.alloc(1)], 0))
})

function linkOf(fd: string): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return null
  }
}
