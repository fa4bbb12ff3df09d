import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { backup } from '../../src/operations/backup.ts'
import { type RestoreOptions, restore } from '../../src/operations/restore.ts'
import { halfCompressible } from '../support/content.ts'
import { qemuNbd } from '../support/nbd-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const SIZE = 60 * CLUSTER_SIZE
const NAMES = ['drive-scsi0', 'drive-scsi1', 'drive-scsi2']
/** So large that a compressed archive has several frames. */
const CONTENT = new Map(NAMES.map((name, index) => [name, halfCompressible(SIZE, index + 1)]))

interface Made {
  dir: string
  path: string
  bytes: Buffer
}

/** Three drives, each of them in an extent or two of its own. */
async function made(t: Parameters<typeof tmpDir>[0], suffix = '', options = {}): Promise<Made> {
  const dir = tmpDir(t)
  const drives: Record<string, string> = {}
  for (const [name, content] of CONTENT) {
    drives[name] = join(dir, `${name}.raw`)
    writeFileSync(drives[name], content)
  }
  const config = join(dir, 'qemu-server.conf')
  writeFileSync(config, 'cores: 1\n')
  const path = join(dir, `a.vma${suffix}`)
  await backup({ drives, configs: { 'qemu-server.conf': config }, to: path, ...options })
  return { dir, path, bytes: readFileSync(path) }
}

function damaged(options: RestoreOptions): Promise<DamagedArchive> {
  return restore(options).then(
    () => assert.fail('it was restored without a word'),
    (error) => {
      assert.ok(error instanceof DamagedArchive, error)
      return error
    },
  )
}

/** Offset of the first extent that begins with clusters of the drive `id`. */
function extentOf(bytes: Buffer, id: number): number {
  for (let at = 12800; at < bytes.length; at += 512 + bytes.readUInt16BE(at + 6) * 4096)
    if (bytes[at + 43] === id) return at
  assert.fail(`there is no extent of drive ${id}`)
}

describe('of a damaged archive', { timeout }, () => {
  test('the drives that are whole get their names, the others one that says so', async (t) => {
    const { dir, bytes } = await made(t)
    bytes[extentOf(bytes, 2) + 30] ^= 1
    const into = join(dir, 'out')
    const error = await damaged({ from: Readable.from([bytes]), into })
    const left = readdirSync(into)
    const unsound = error.report.drives.filter((drive) => drive.damaged.bytes + drive.missing.bytes > 0)
    assert.ok(unsound.length > 0 && unsound.length < 3)
    for (const { name } of error.report.drives) {
      const final = `disk-${name}.raw`
      const whole = unsound.every((drive) => drive.name !== name)
      assert.deepEqual([left.includes(final), left.includes(`${final}.damaged`)], [whole, !whole])
      if (whole) assert.ok(readFileSync(join(into, final)).equals(CONTENT.get(name)!))
    }
    assert.ok(left.includes('qemu-server.conf') && left.length === 4)
    for (const [index, { name }] of unsound.entries()) {
      assert.match(error.notes[index], new RegExp(`^drive ${name} is not whole: .* missing; left as '.*\\.damaged'`))
    }
  })

  test('a second try leaves the first one as it is', async (t) => {
    const { dir, bytes } = await made(t)
    bytes[extentOf(bytes, 2) + 600] ^= 1
    const target = join(dir, 'b-again.raw')
    for (let time = 0; time < 3; time++) {
      await damaged({ from: Readable.from([bytes]), drives: { 'drive-scsi1': target }, force: true })
      if (time === 0) writeFileSync(`${target}.damaged`, 'mended by hand')
    }
    assert.ok(!existsSync(target))
    assert.equal(readFileSync(`${target}.damaged`, 'utf8'), 'mended by hand')
    assert.ok(existsSync(`${target}.damaged.2`) && existsSync(`${target}.damaged.3`))
  })

  test('salvage restores what can be had, and tells every range that could not', async (t) => {
    for (const suffix of ['', '.zst', '.lz4', '.gz']) {
      const { dir, bytes } = await made(t, suffix)
      // Data or what holds it: somewhere in the middle.
      bytes[bytes.length >> 1] ^= 1
      const into = join(dir, 'out')
      const error = await damaged({ from: Readable.from([bytes]), into, salvage: true })
      assert.equal(readdirSync(into).length, 4)
      for (const { name, damaged, missing } of error.report.drives) {
        const restored = readFileSync(join(into, `disk-${name}.raw`))
        const told = Buffer.from(CONTENT.get(name)!)
        for (const { offset, length } of missing.ranges) told.fill(0, offset, offset + length)
        for (const { offset, length } of damaged.ranges) restored.copy(told, offset, offset, offset + length)
        assert.ok(restored.equals(told), `${name} in ${suffix || 'plain'}`)
        for (const { offset, length } of damaged.ranges)
          assert.ok(
            error.notes.includes(`drive ${name}, bytes ${offset} to ${offset + length - 1}: damaged (kept as read)`),
          )
        for (const { offset, length } of missing.ranges)
          assert.ok(error.notes.includes(`drive ${name}, bytes ${offset} to ${offset + length - 1}: missing (zeroes)`))
      }
      assert.ok(error.notes.length > 0)
    }
  })

  test('without checksums nothing is taken for sound that a broken frame had', async (t) => {
    const { dir, bytes } = await made(t, '.lz4', { checksums: false })
    const intact = Buffer.from(bytes)
    bytes[bytes.length >> 1] ^= 1
    const error = await damaged({ from: Readable.from([bytes]), into: join(dir, 'out') })
    assert.ok(error.report.drives.some((drive) => drive.damaged.bytes + drive.missing.bytes > 0))
    await restore({ from: Readable.from([intact]), into: join(dir, 'whole') })
  })

  const nbd = 'a target that was there before holds the damage, zeroes for what is missing, and that is said'
  test(nbd, needs('qemu-nbd'), async (t) => {
    const { dir, bytes } = await made(t)
    bytes[extentOf(bytes, 1) + 30] ^= 1
    const image = join(dir, 'before.raw')
    writeFileSync(image, Buffer.alloc(SIZE, 0xee))
    const uri = await qemuNbd(t, join(dir, 'socket'), ['-f', 'raw', image])
    const error = await damaged({ from: Readable.from([bytes]), drives: { 'drive-scsi0': uri } })
    assert.match(error.notes[0], /drive drive-scsi0 is not whole: .*; nbd.* has it nevertheless, with the damage/)
    const expected = Buffer.from(CONTENT.get('drive-scsi0')!)
    const [{ missing }] = error.report.drives
    assert.ok(missing.bytes > 0)
    for (const { offset, length } of missing.ranges) expected.fill(0, offset, offset + length)
    assert.ok(readFileSync(image).equals(expected))
  })

  test('damage of a drive that is not wanted is told as well', async (t) => {
    const { dir, bytes } = await made(t)
    const extent = extentOf(bytes, 3)
    bytes[extent + 30] ^= 1
    const target = join(dir, 'first.raw')
    const error = await damaged({ from: Readable.from([bytes]), drives: { 'drive-scsi0': target } })
    assert.equal(existsSync(target), error.report.drives[0].missing.bytes === 0)
  })
})

describe('an archive that was cut', { timeout }, () => {
  for (const suffix of ['', '.zst', '.lz4', '.gz']) {
    test(`(a.vma${suffix}) is refused before anything is written, but for salvage`, async (t) => {
      for (const index of [true, false]) {
        const { dir, path, bytes } = await made(t, suffix, { index })
        const into = join(dir, 'out')
        await restore({ from: path, into: join(dir, 'whole') })
        // Of compressed archives, the header and the first extents are in the first frame.
        for (const cut of [0.99, 0.9, 0.6]) {
          const file = join(dir, 'cut')
          writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * cut)))
          const refusal = { code: 'INCOMPLETE', hint: /nothing was written; --salvage/ }
          await assert.rejects(restore({ from: file, into }), refusal, `${cut} of it, index ${index}`)
          assert.ok(!existsSync(into))
          await damaged({ from: file, into: join(dir, `salvaged-${cut}`), salvage: true })
        }
      }
    })
  }

  test('is no matter for what can be read but once', async (t) => {
    const { dir, bytes } = await made(t)
    const pipe = join(dir, 'pipe')
    execFileSync('mkfifo', [pipe])
    const writing = writeFile(pipe, bytes)
    await restore({ from: pipe, into: join(dir, 'out') })
    await writing
    assert.equal(readdirSync(join(dir, 'out')).length, 4)
  })

  test('is restored as far as it goes where it has no checksums, or is not a file', async (t) => {
    const { dir, bytes } = await made(t)
    await damaged({ from: Readable.from([bytes.subarray(0, -600_000)]), into: join(dir, 'stream') })
    const plain = await made(t, '', { checksums: false, index: false })
    const file = join(plain.dir, 'cut')
    writeFileSync(file, plain.bytes.subarray(0, -600_000))
    await damaged({ from: file, into: join(plain.dir, 'out') })
    assert.ok(readdirSync(join(plain.dir, 'out')).some((name) => name.endsWith('.damaged')))
  })
})
