import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDriveReader, openDriveWriter } from '../../src/storage/open.ts'
import { isListening, nbdkit, qemuNbd, startServer } from '../support/nbd-server.ts'
import { freePorts } from '../support/ports.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { collect, readerContract, writerContract, writeSparse } from './contract.ts'

const timeout = 60_000

const servers = {
  'qemu-nbd': (t: any, dir: string, args: string[]) =>
    qemuNbd(t, join(dir, 's'), ['--format=raw', ...args, join(dir, 'disk')]),
  nbdkit: (t: any, dir: string, args: string[]) => nbdkit(t, join(dir, 's'), [...args, 'file', join(dir, 'disk')]),
  'nbdkit without structured replies': (t: any, dir: string) =>
    nbdkit(t, join(dir, 's'), ['--no-sr', 'file', join(dir, 'disk')]),
  'nbdkit that wants aligned requests': (t: any, dir: string, args: string[]) =>
    nbdkit(t, join(dir, 's'), [
      ...args,
      '--filter=blocksize-policy',
      'file',
      join(dir, 'disk'),
      'blocksize-minimum=4096',
      'blocksize-preferred=4096',
      'blocksize-maximum=65536',
      'blocksize-error-policy=error',
    ]),
  'nbdkit that knows EXPORT_NAME only': (t: any, dir: string) =>
    nbdkit(t, join(dir, 's'), ['--mask-handshake=0', 'file', join(dir, 'disk')]),
}

for (const [name, serve] of Object.entries(servers)) {
  const { skip } = needs(name.startsWith('qemu') ? 'qemu-nbd' : 'nbdkit')
  const aligned = name.includes('aligned')
  readerContract(`NBD reader, ${name}`, {
    skip,
    // A server that wants whole blocks has no use for a part of one at the end.
    size: aligned ? 5 * 2 ** 20 + 4096 : undefined,
    sparse: name === 'qemu-nbd' || name === 'nbdkit',
    async open(t, image) {
      const dir = tmpDir(t)
      writeSparse(join(dir, 'disk'), image)
      return openDriveReader(await serve(t, dir, ['--read-only']))
    },
  })
  if (aligned) continue
  writerContract(`NBD writer, ${name}`, {
    skip,
    async open(t, size) {
      const dir = tmpDir(t)
      const path = join(dir, 'disk')
      writeFileSync(path, Buffer.alloc(size, 0x5a))
      const uri = await serve(t, dir, [])
      return { writer: await openDriveWriter(uri, { size }), content: async () => readFileSync(path) }
    },
  })
}

test('a server without WRITE_ZEROES gets zeroes written', { timeout, ...needs('nbdkit') }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk')
  writeFileSync(path, Buffer.alloc(3_000_000, 1))
  const uri = await nbdkit(t, join(dir, 's'), ['--filter=nozero', 'file', path])
  const writer = await openDriveWriter(uri, { size: 3_000_000 })
  await writer.zero(5, 2_500_000)
  await writer.flush()
  await writer.close()
  const expected = Buffer.alloc(3_000_000, 1).fill(0, 5, 2_500_005)
  assert.ok(readFileSync(path).equals(expected))
})

test('a terabyte with little data is mapped in a moment', { timeout, ...needs('qemu-nbd') }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk')
  writeFileSync(path, '')
  truncateSync(path, 2 ** 40)
  const fd = openSync(path, 'r+')
  for (let i = 0; i < 16; i++) writeSync(fd, Buffer.alloc(65536, 1), 0, 65536, i * 2 ** 36)
  closeSync(fd)
  const reader = await openDriveReader(await qemuNbd(t, join(dir, 's'), ['--read-only', '--format=raw', path]))
  const extents = await collect(reader.map(0, 2 ** 40))
  assert.equal(extents.filter(({ zero }) => !zero).length, 16)
  assert.ok(extents.length < 2000, `${extents.length} extents`)
  await reader.close()
})

test('an export that is too small or read-only is refused, a larger one is not', {
  timeout,
  ...needs('nbdkit'),
}, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk')
  writeFileSync(path, Buffer.alloc(10_000, 7))
  const uri = await nbdkit(t, join(dir, 's'), ['file', path])
  await assert.rejects(openDriveWriter(uri, { size: 10_001 }), {
    code: 'USAGE',
    message: /has 10000 bytes, the drive 10001/,
  })
  const writer = await openDriveWriter(uri, { size: 5000, isZero: true })
  assert.equal(writer.isZero, true)
  await writer.write([Buffer.alloc(5000, 1)], 0)
  await writer.close()
  assert.ok(readFileSync(path).equals(Buffer.alloc(10_000, 7).fill(1, 0, 5000)))
  const frozen = await nbdkit(t, join(dir, 'ro'), ['--read-only', 'file', path])
  await assert.rejects(openDriveWriter(frozen, { size: 10_000 }), { message: /read-only/ })
})

test('an export over TCP, with a name that must be encoded', { timeout, ...needs('qemu-nbd') }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(10_240, 6))
  const [port] = await freePorts(1)
  const args = ['--persistent', '--format=raw', '--bind=127.0.0.1', `--port=${port}`, '--export-name=a b/\u00fc', path]
  await startServer(t, 'qemu-nbd', args, () => isListening(port))
  const reader = await openDriveReader(`nbd://127.0.0.1:${port}/a%20b%2F%C3%BC`)
  const back = Buffer.alloc(10_240)
  await reader.read(back, 0)
  assert.ok(back.equals(Buffer.alloc(10_240, 6)))
  await reader.close()
  await assert.rejects(openDriveReader(`nbd://127.0.0.1:${port}/other`), { message: /has no export 'other'/ })
})

test('an abort ends what is in flight', { timeout, ...needs('nbdkit') }, async (t) => {
  const dir = tmpDir(t)
  const uri = await nbdkit(t, join(dir, 's'), ['--filter=delay', 'null', '1M', 'rdelay=10'])
  const controller = new AbortController()
  const reader = await openDriveReader(uri, { signal: controller.signal })
  const reading = reader.read(Buffer.alloc(1000), 0)
  setTimeout(() => controller.abort(), 20)
  await assert.rejects(reading, { code: 'ABORTED' })
  await reader.close()
})

test('extents that end within a block of the server are mapped, that block as data', {
  timeout,
  ...needs('nbdkit'),
}, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk')
  // Data, a hole, and an end that is no multiple of 512: `truncate` makes it one, and tells the extent as it was.
  writeFileSync(path, Buffer.alloc(65_536, 3))
  truncateSync(path, 1_048_576 + 333)
  const filters = ['--filter=blocksize-policy', '--filter=truncate', 'file', path, 'round-up=512']
  const policy = ['blocksize-minimum=512', 'blocksize-preferred=4096', 'blocksize-maximum=64K']
  const reader = await openDriveReader(await nbdkit(t, join(dir, 's'), [...filters, ...policy]))
  let position = 0
  for await (const { offset, length } of reader.map(0, reader.size)) {
    assert.equal(offset, position)
    position += length
  }
  assert.equal(position, 1_048_576 + 512)
  await reader.close()
})
