import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDriveReader, openDriveWriter } from '../../src/storage/open.ts'
import { IMAGE_FORMATS } from '../../src/storage/spec.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { readerContract, sampleImage, writerContract } from './contract.ts'

const timeout = 60_000
const qemu = needs('qemu-nbd', 'qemu-img')

function convert(from: string, to: string, path: string, out: string): Buffer {
  execFileSync('qemu-img', ['convert', '-f', from, '-O', to, path, out])
  return readFileSync(out)
}

/** qemu-nbd processes that were given something under `path`. */
function serversOf(path: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      const args = /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : ''
      return args.includes('qemu-nbd') && args.includes(path)
    } catch {
      return false
    }
  })
}

async function noServersOf(path: string): Promise<boolean> {
  for (let i = 0; i < 3000 && serversOf(path).length > 0; i++) await sleep(10)
  return serversOf(path).length === 0
}

readerContract('qcow2 reader', {
  ...qemu,
  sparse: true,
  async open(t, image) {
    const dir = tmpDir(t)
    writeFileSync(join(dir, 'raw'), image)
    convert('raw', 'qcow2', join(dir, 'raw'), join(dir, 'disk.qcow2'))
    return openDriveReader(`qcow2:${join(dir, 'disk.qcow2')}`)
  },
})

writerContract('qcow2 writer', {
  ...qemu,
  async open(t, size) {
    const dir = tmpDir(t)
    const path = join(dir, 'disk.qcow2')
    const content = async () => convert('qcow2', 'raw', path, join(dir, 'raw'))
    return { writer: await openDriveWriter(`qcow2:${path}`, { size }), content }
  },
})

for (const format of IMAGE_FORMATS) {
  test(`${format}: what is written is what is read, under the final name`, { timeout, ...qemu }, async (t) => {
    const dir = tmpDir(t)
    const spec = `${format}:${join(dir, 'disk')}`
    const image = sampleImage(3 * 2 ** 20)
    const writer = await openDriveWriter(spec, { size: image.length })
    await writer.write([image.subarray(0, 2 ** 20), image.subarray(2 ** 20)], 0)
    await writer.flush()
    assert.ok(!readdirSync(dir).includes('disk'))
    await writer.publish()
    await writer.close()
    assert.deepEqual(readdirSync(dir), ['disk'])
    const reader = await openDriveReader(spec)
    const back = Buffer.alloc(image.length)
    await reader.read(back, 0)
    await reader.close()
    assert.ok(back.equals(image))
    assert.ok(reader.size < image.length + 2 ** 16)
  })
}

test('a VMDK names itself by its final name', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  const writer = await openDriveWriter(`vmdk:${join(dir, 'disk.vmdk')}`, { size: 65536 })
  await writer.flush()
  await writer.publish()
  await writer.close()
  assert.match(readFileSync(join(dir, 'disk.vmdk'), 'latin1'), /SPARSE "disk\.vmdk"/)
})

test('odd file names are names, not protocols or options', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  const here = process.cwd()
  process.chdir(dir)
  t.after(() => process.chdir(here))
  for (const name of ['-f', 'a b,c=d,,e', 'nbd:localhost:1', 'json:{}', 'fat:x', "q'$(x)%20", 'ü\n']) {
    const writer = await openDriveWriter(`qcow2:${name}`, { size: 65536 })
    await writer.write([Buffer.alloc(65536, 3)], 0)
    await writer.flush()
    await writer.publish()
    await writer.close()
    const reader = await openDriveReader(`qcow2:${name}`)
    const back = Buffer.alloc(65536)
    await reader.read(back, 0)
    await reader.close()
    assert.equal(back[777], 3)
    assert.ok(readdirSync('.').includes(name))
  }
})

test('what was not published leaves neither file nor process', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  const writer = await openDriveWriter(`qcow2:${join(dir, 'disk.qcow2')}`, { size: 2 ** 30 })
  assert.equal(serversOf(dir).length, 1)
  await writer.close()
  assert.deepEqual(readdirSync(dir), [])
  assert.deepEqual(serversOf(dir), [])
})

test('a raw file is not taken for the format that its content claims', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk.raw')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1G'])
  const reader = await openDriveReader(path)
  assert.equal(reader.size, readFileSync(path).length)
  await reader.close()
})

test('an image of another format, or none, is an error in one line with what qemu-nbd says', {
  timeout,
  ...qemu,
}, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(100_000, 1))
  await assert.rejects(openDriveReader(`qcow2:${path}`), (error: any) => {
    assert.equal(error.code, 'FAILED')
    assert.match(error.line, /qemu-nbd cannot serve the image: .*not in qcow2 format/)
    return true
  })
  await assert.rejects(openDriveReader(`qcow2:${path}.not`), { message: /no such file/ })
})

test('an existing image is replaced with force only', { timeout, ...qemu }, async (t) => {
  const path = join(tmpDir(t), 'disk.qcow2')
  writeFileSync(path, 'precious')
  await assert.rejects(openDriveWriter(`qcow2:${path}`, { size: 65536 }), { message: /exists and was not overwritten/ })
  const writer = await openDriveWriter(`qcow2:${path}`, { size: 65536, force: true })
  assert.equal(readFileSync(path, 'utf8'), 'precious')
  await writer.flush()
  await writer.publish()
  await writer.close()
  assert.match(execFileSync('qemu-img', ['info', '-f', 'qcow2', path], { encoding: 'utf8' }), /64 KiB/)
})

test('without qemu-nbd the error says how to get it', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const path = process.env.PATH
  t.after(() => {
    process.env.PATH = path
  })
  process.env.PATH = dir
  writeFileSync(join(dir, 'disk.qcow2'), 'x')
  const missing = { message: /qemu-nbd is needed/, hint: /apt install qemu-utils/ }
  await assert.rejects(openDriveReader(`qcow2:${join(dir, 'disk.qcow2')}`), missing)
  await assert.rejects(openDriveWriter(`qcow2:${join(dir, 'new.qcow2')}`, { size: 1 }), missing)
  assert.deepEqual(readdirSync(dir), ['disk.qcow2'])
})

test('an abort ends reading and the server', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(dir, 'disk.qcow2'), '1G'])
  const controller = new AbortController()
  const reader = await openDriveReader(`qcow2:${join(dir, 'disk.qcow2')}`, { signal: controller.signal })
  const reading = assert.rejects(reader.read(Buffer.alloc(64 * 2 ** 20), 0), { code: 'ABORTED' })
  controller.abort()
  await reading
  assert.ok(await noServersOf(dir))
  await reader.close()
})

test('the server ends when we are killed, and leaves no folder', { timeout, ...qemu }, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk.qcow2')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1G'])
  // Other tests use the folder of temporary files too.
  const own = join(dir, 'tmp')
  mkdirSync(own)
  const script = `const { openDriveReader } = await import('${new URL('../../src/storage/open.ts', import.meta.url)}')
    await openDriveReader(${JSON.stringify(`qcow2:${path}`)})
    process.kill(process.pid, 'SIGKILL')`
  const env = { ...process.env, TMPDIR: own }
  assert.throws(() => execFileSync(process.execPath, ['--input-type=module', '-e', script], { env }), {
    signal: 'SIGKILL',
  })
  assert.ok(await noServersOf(dir))
  assert.deepEqual(readdirSync(own), [])
})
