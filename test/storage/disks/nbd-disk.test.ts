import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { nbdkit, qemuNbd } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { readerContract, writerContract } from '../contract.ts'
import { asReader, asWriter } from './as-drive.ts'

const timeout = 60_000
const MiB = 2 ** 20

readerContract('NBD disk', {
  ...needs('qemu-nbd'),
  async open(t, content) {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, content)
    return asReader(await openDisk(await qemuNbd(t, join(tmpDir(t), 's'), ['--format=raw', path])))
  },
})

writerContract('NBD disk', {
  ...needs('nbdkit'),
  async open(t, size) {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, Buffer.alloc(size, 0x5a))
    const disk = await openDisk(await nbdkit(t, join(tmpDir(t), 's'), ['file', path]))
    return { writer: asWriter(disk), content: async () => readFileSync(path) }
  },
})

/** A server that refuses everything that is not of whole blocks of 4 KiB. */
const wholeBlocks = ['--filter=blocksize-policy', 'file']
const policy = [
  'blocksize-minimum=4096',
  'blocksize-preferred=4096',
  'blocksize-maximum=32M',
  'blocksize-error-policy=error',
]

writerContract('NBD disk of 4 KiB blocks', {
  ...needs('nbdkit'),
  size: 5 * MiB,
  async open(t, size) {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, Buffer.alloc(size, 0x5a))
    const disk = await openDisk(await nbdkit(t, join(tmpDir(t), 's'), [...wholeBlocks, path, ...policy]))
    return { writer: asWriter(disk), content: async () => readFileSync(path) }
  },
})

test('what is not of whole blocks is changed within them, and nothing beside it, whoever writes there at once', {
  timeout,
  ...needs('nbdkit'),
}, async (t) => {
  const path = join(tmpDir(t), 'disk')
  const expected = Buffer.alloc(64 << 10, 0x5a)
  writeFileSync(path, expected)
  const disk = await openDisk(await nbdkit(t, join(tmpDir(t), 's'), [...wholeBlocks, path, ...policy]))
  assert.equal(disk.minBlock, 4096)
  const work: unknown[] = []
  // Sectors of the same blocks, and whole blocks between them, all under way at once.
  for (let sector = 0; sector < 64; sector++) {
    if (sector % 8 === 7) continue
    const kind = sector % 3
    const offset = sector * 512
    if (kind === 0) work.push(disk.zero(offset, 512))
    else if (kind === 1) work.push(disk.write([Buffer.alloc(512, sector)], offset))
    else work.push(disk.trim(offset, 512))
    if (kind !== 2) expected.fill(kind === 0 ? 0 : sector, offset, offset + 512)
  }
  work.push(disk.write([Buffer.alloc(8192, 7)], 40960), disk.zero(51200 + 100, 9000))
  expected.fill(7, 40960, 49152).fill(0, 51300, 60300)
  await Promise.all(work)
  await disk.flush()
  await disk.close()
  assert.ok(readFileSync(path).equals(expected))
})

writerContract('qcow2 disk', {
  ...needs('qemu-nbd', 'qemu-img'),
  size: 5 * MiB + 512,
  async open(t, size) {
    const folder = tmpDir(t)
    const path = join(folder, 'disk.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(size)])
    return {
      writer: asWriter(await openDisk(`qcow2:${path}`)),
      async content() {
        execFileSync('qemu-img', ['check', '-q', path])
        execFileSync('qemu-img', ['convert', '-O', 'raw', path, join(folder, 'raw')])
        return readFileSync(join(folder, 'raw'))
      },
    }
  },
})

/** nbdkit with a log of the writes and flushes that it is asked for. */
async function logged(t: Parameters<typeof nbdkit>[0], filters: string[] = []) {
  const folder = tmpDir(t)
  const log = join(folder, 'log')
  const uri = await nbdkit(t, join(folder, 's'), ['--filter=log', ...filters, 'memory', '1M', `logfile=${log}`])
  const asked = () =>
    [...readFileSync(log, 'latin1').matchAll(/ (Write|Zero|Trim|Flush) id=.*?(fua=\d)? \.\.\./g)].map(([, what, fua]) =>
      [what, fua].join(' ').trim(),
    )
  return { uri, asked }
}

test('what is to be durable goes as FUA where the server has it', { timeout, ...needs('nbdkit') }, async (t) => {
  const { uri, asked } = await logged(t)
  const disk = await openDisk(uri)
  await disk.write([Buffer.alloc(512)], 0, { fua: true })
  await disk.write([Buffer.alloc(512)], 0)
  await disk.close()
  assert.deepEqual(asked(), ['Write fua=1', 'Write fua=0'])
})

test('and with a flush after it where it has not', { timeout, ...needs('nbdkit') }, async (t) => {
  const { uri, asked } = await logged(t, ['--filter=fua'])
  const disk = await openDisk(uri)
  await disk.write([Buffer.alloc(512)], 0, { fua: true })
  await disk.zero(0, 4096, { fua: true })
  await disk.trim(0, 4096, { fua: true })
  await disk.flush()
  await disk.close()
  assert.deepEqual(
    asked().map((line) => line.split(' ')[0]),
    ['Write', 'Flush', 'Zero', 'Flush', 'Trim', 'Flush', 'Flush'],
  )
})

test('zeroes that must be fast are refused, as nobody asked the server', { timeout, ...needs('nbdkit') }, async (t) => {
  const { uri } = await logged(t)
  const disk = await openDisk(uri)
  await assert.rejects(async () => disk.zero(0, 4096, { fast: true }), { code: 'ENOTSUP' })
  await disk.close()
})

test('an error of the server keeps its kind', { timeout, ...needs('nbdkit') }, async (t) => {
  const folder = tmpDir(t)
  const filter = ['--filter=error', 'memory', '1M', 'error=ENOSPC', 'error-pwrite-rate=100%']
  const disk = await openDisk(await nbdkit(t, join(folder, 's'), filter))
  await assert.rejects(
    async () => disk.write([Buffer.alloc(512)], 0),
    (error: any) => error.cause.code === 'ENOSPC',
  )
  await disk.read(Buffer.alloc(512), 0)
  await disk.close()
})

test('a read-only export is refused for writing, and opened for reading', {
  timeout,
  ...needs('nbdkit'),
}, async (t) => {
  const uri = await nbdkit(t, join(tmpDir(t), 's'), ['--readonly', 'memory', '1M'])
  await assert.rejects(openDisk(uri), { code: 'USAGE', message: /read-only/ })
  const disk = await openDisk(uri, { readOnly: true })
  assert.equal(disk.readOnly, true)
  await disk.close()
})

test('a qcow2 image that is in use is refused, and one that is not there', {
  timeout,
  ...needs('qemu-nbd', 'qemu-img'),
}, async (t) => {
  const path = join(tmpDir(t), 'disk.qcow2')
  await assert.rejects(openDisk(`qcow2:${path}`), { code: 'FAILED' })
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M'])
  const disk = await openDisk(`qcow2:${path}`)
  await assert.rejects(openDisk(`qcow2:${path}`), { code: 'FAILED', message: /in use by process \d+ \(qemu-nbd\)/ })
  await disk.close()
})
