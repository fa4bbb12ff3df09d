import assert from 'node:assert/strict'
import { createReadStream, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Budget } from '../../src/core/budget.ts'
import { backup } from '../../src/operations/backup.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { ArchiveFile } from '../../src/storage/archive/archive-file.ts'
import { archiveOf, opened, patchyImage } from '../access/made-archive.ts'
import { piped } from '../support/content.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const limits = { timeout: 120_000 }
const MIB = 1 << 20
const NAME = 'drive-scsi0'

async function contentOf(
  from: Parameters<typeof openArchive>[0],
  options: Parameters<typeof openArchive>[1],
): Promise<Buffer> {
  const archive = await openArchive(from, options)
  try {
    const drive = archive.drive(NAME)
    const content = Buffer.alloc(drive.size)
    await drive.read(content, 0)
    return content
  } finally {
    await archive.close()
  }
}

describe('an archive is opened', limits, () => {
  test('for some of its bytes: of a large one little is read for one cluster', async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'disk.raw')
    writeImage(raw, 16 * 2 ** 30, { noise: 24 * MIB, tail: 24 * MIB })
    const { read } = ArchiveFile.prototype
    let bytes = 0
    t.mock.method(ArchiveFile.prototype, 'read', function (this: ArchiveFile, buffer: Uint8Array, offset: number) {
      bytes += buffer.byteLength
      return read.call(this, buffer, offset)
    })
    for (const suffix of ['vma', 'vma.zst', 'vma.lz4']) {
      const path = join(dir, `a.${suffix}`)
      await backup({ drives: { d: raw }, to: path })
      bytes = 0
      const archive = await openArchive(path)
      const cluster = Buffer.alloc(65536)
      await archive.drive('d').read(cluster, 16 * 2 ** 30 - 12 * MIB)
      await archive.close()
      assert.ok(cluster.some((byte) => byte !== 0))
      assert.ok(bytes > 0 && bytes < 5 * MIB, `${suffix}: ${bytes} bytes were read`)
    }
  })

  test('by a name that it has, also without drive-; else the drives that it has are told', async (t) => {
    const { archive } = await opened(t, await archiveOf([patchyImage(1000), patchyImage(2000)]))
    assert.equal(archive.drive('drive-scsi1').size, 2000)
    assert.equal(archive.drive('scsi1').size, 2000)
    assert.throws(() => archive.drive('scsi2'), { code: 'USAGE', hint: 'it has drive-scsi0, drive-scsi1' })
  })

  test('only where it is one', async (t) => {
    await assert.rejects(opened(t, Buffer.alloc(0)), { code: 'INCOMPLETE', message: /is empty/ })
    await assert.rejects(opened(t, Buffer.from('VMA\0abc')), { code: 'INCOMPLETE', message: /within its header/ })
    await assert.rejects(opened(t, Buffer.alloc(70_000, 'x')), { code: 'DAMAGED', message: /not a VMA archive/ })
    await assert.rejects(openArchive('/nowhere/a.vma'), { code: 'FAILED', line: /no such file/ })
    const archive = await archiveOf([patchyImage(5000)])
    await assert.rejects(opened(t, archive.subarray(0, 9000)), { code: 'INCOMPLETE' })
  })

  test('whose map of frames is lost: they are found one by one', async (t) => {
    const image = patchyImage(3_000_000)
    for (const method of ['zstd', 'lz4', 'gzip'] as const) {
      const { archive, warnings } = await opened(t, await archiveOf([image], { method, frame: 1 << 18, map: false }))
      const drive = archive.drive(NAME)
      const content = Buffer.alloc(drive.size)
      await drive.read(content, 0)
      assert.ok(content.equals(image))
      assert.deepEqual(warnings, [])
    }
    const damaged = await archiveOf([image], { method: 'zstd', frame: 1 << 18 })
    damaged[damaged.length - 45] ^= 1
    const { archive, warnings } = await opened(t, damaged)
    await archive.drive(NAME).read(Buffer.alloc(100), 2_000_000)
    assert.match(warnings.join(), /^the map of the archive's frames is not used/)
  })

  test('within its memory, or not at all', async (t) => {
    const image = patchyImage(30 * MIB)
    const bytes = await archiveOf([image], { method: 'zstd' })
    const budget = new Budget(16 * MIB)
    const { archive } = await opened(t, bytes, { budget })
    const drive = archive.drive(NAME)
    const read = async (at: number) => {
      const buffer = Buffer.alloc(MIB)
      await drive.read(buffer, at)
      assert.ok(buffer.equals(image.subarray(at, at + MIB)), `${at}`)
    }
    await Promise.all(Array.from({ length: 60 }, (_, n) => read(((n * 7) % 29) * MIB)))
    assert.ok(budget.highWater <= 16 * MIB, `${budget.highWater}`)
    await assert.rejects(opened(t, bytes, { budget: new Budget(8 * MIB) }), { code: 'USAGE', hint: /--buffer/ })
  })
})

describe('what can only be read from front to back is unpacked', limits, () => {
  const image = patchyImage(5_000_000)

  test('a Node stream, a command, in a folder where nothing stays', async (t) => {
    const dir = tmpDir(t)
    const path = join(dir, 'a.vma.zst')
    writeFileSync(path, await archiveOf([image], { method: 'zstd' }))
    const spool = join(dir, 'spool/new')
    assert.ok((await contentOf(createReadStream(path), { spool })).equals(image))
    assert.ok((await contentOf(`exec:cat '${path}'`, { spool })).equals(image))
    assert.deepEqual(readdirSync(spool), [])
  })

  test('one long frame of zstd is unpacked, which is said before', needs('zstd'), async (t) => {
    const dir = tmpDir(t)
    const path = join(dir, 'a.vma.zst')
    writeFileSync(path, piped('zstd', ['-c'], await archiveOf([image], { index: false, checksums: false })))
    const warnings: string[] = []
    assert.ok((await contentOf(path, { warn: (line) => warnings.push(line) })).equals(image))
    assert.match(
      warnings.join(),
      /^this compressed archive has no map of its frames.* unpacked into a temporary file in '.*' first, up to \d/,
    )
    assert.ok((await contentOf(path, { spool: dir })).equals(image))
    assert.deepEqual(readdirSync(dir), ['a.vma.zst'])
    const archive = await openArchive(path, { spool: dir })
    t.after(() => archive.close())
    const chunks: Buffer[] = []
    for await (const chunk of archive.drive(NAME).chunks(70_000, 3_000_000)) {
      chunks.push(...chunk.buffers.map((bytes) => Buffer.from(bytes)))
      chunk.release()
    }
    assert.ok(Buffer.concat(chunks).equals(image.subarray(70_000, 3_070_000)))
  })

  test('and what is damaged there is an error before anything is read', async (t) => {
    const dir = tmpDir(t)
    const bytes = await archiveOf([image])
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(join(dir, 'a.vma'), bytes)
    await assert.rejects(openArchive(`exec:cat '${join(dir, 'a.vma')}'`, { spool: dir }), { code: 'DAMAGED' })
    assert.deepEqual(readdirSync(dir), ['a.vma'])
  })
})
