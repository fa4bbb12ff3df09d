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

const timeout = 20_000
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
  await assert.rejects(openDisk(`qcow2:${path}`), { code: 'FAILED', message: /lock/ })
  await disk.close()
})
