import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { FrameTable } from '../../src/access/frame-table.ts'
import { mapInMemory } from '../../src/access/map-bytes.ts'
import { readSidecar, writeSidecar } from '../../src/access/sidecar.ts'
import type { Frame } from '../../src/formats/frame-map/frame-map.ts'
import { indexArchive } from '../../src/operations/index-archive.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { framesIn, mapOf } from './frame-maps.ts'
import { archiveOf, type Hooks, patchyImage } from './made-archive.ts'

const limits = { timeout: 240_000 }

const IMAGE = patchyImage(5_000_000)
const foreign = { index: false, checksums: false, map: false }

/** What the drive reads as, and what was warned of. */
async function contentOf(path: string): Promise<{ content: Buffer; warnings: string[] }> {
  const warnings: string[] = []
  const archive = await openArchive(path, { warn: (message) => warnings.push(message) })
  try {
    const drive = archive.drive('drive-scsi0')
    const content = Buffer.alloc(drive.size)
    await drive.read(content, 0)
    return { content, warnings }
  } finally {
    await archive.close()
  }
}

async function written(t: Hooks, making: object): Promise<string> {
  const path = join(tmpDir(t), 'a.vma')
  writeFileSync(path, await archiveOf([IMAGE], making))
  return path
}

describe('an index beside an archive', limits, () => {
  for (const method of ['none', 'zstd', 'lz4', 'gzip'] as const)
    test(`of another tool (${method}) is used`, async (t) => {
      const archive = await written(t, { ...foreign, method, frame: 1 << 20, random: seeded(1) })
      const report = await indexArchive({ archive })
      assert.equal(report.path, `${archive}.idx`)
      assert.equal(statSync(`${archive}.idx`).mode & 0o777, 0o600)
      const { content, warnings } = await contentOf(archive)
      assert.ok(content.equals(IMAGE))
      assert.deepEqual(warnings, [])
      await assert.rejects(indexArchive({ archive }), { code: 'FAILED', hint: /--force/ })
      assert.equal((await indexArchive({ archive, force: true })).extents, report.extents)
    })

  test('is used of what pzstd made, too', needs('pzstd'), async (t) => {
    const plain = await written(t, foreign)
    const archive = `${plain}.zst`
    execFileSync('pzstd', ['-q', '-1', plain, '-o', archive])
    assert.match((await contentOf(archive)).warnings.join(), /it is unpacked/)
    await indexArchive({ archive })
    const { content, warnings } = await contentOf(archive)
    assert.ok(content.equals(IMAGE))
    assert.deepEqual(warnings, [])
  })

  test('is not made if it would be of no use', needs('zstd', 'gzip', 'lz4'), async (t) => {
    const ours = await written(t, {})
    assert.equal((await indexArchive({ archive: ours })).path, null)
    // Its one frame of zstd is too large to decode for one cluster.
    const plain = join(tmpDir(t), 'a.vma')
    writeFileSync(plain, await archiveOf([Buffer.alloc(34 << 20, 'text')], foreign))
    for (const program of ['zstd', 'gzip', 'lz4']) {
      const archive = `${plain}.${program}`
      writeFileSync(archive, execFileSync(program, ['-c', plain], { maxBuffer: 1 << 26 }))
      await assert.rejects(indexArchive({ archive }), { code: 'USAGE', hint: /--spool/ }, program)
    }
    await assert.rejects(indexArchive({ archive: '-' }), { code: 'USAGE' })
  })

  test('is not used of an archive that has changed, or of another one', async (t) => {
    const archive = await written(t, foreign)
    await indexArchive({ archive })
    const { mtime } = statSync(archive)
    utimesSync(archive, mtime, new Date(1e12))
    const touched = await contentOf(archive)
    assert.match(touched.warnings.join(), /^the index beside the archive is not used: .* has changed since/)
    assert.ok(touched.content.equals(IMAGE))
    await indexArchive({ archive, force: true })
    assert.deepEqual((await contentOf(archive)).warnings, [])
    // As long, as old, and another.
    const other = await written(t, foreign)
    const bytes = readFileSync(archive)
    bytes.fill(9, 8, 24)
    writeFileSync(other, bytes)
    utimesSync(other, new Date(1e12), new Date(1e12))
    copyFileSync(`${archive}.idx`, `${other}.idx`)
    await assert.rejects(contentOf(other), { code: 'DAMAGED' })
  })

  test(`is never believed if it is damaged (seed ${seed})`, async (t) => {
    for (const making of [foreign, { ...foreign, method: 'zstd', frame: 1 << 20 }]) {
      const archive = await written(t, making)
      await indexArchive({ archive })
      const whole = readFileSync(`${archive}.idx`)
      const damage = fc.oneof(
        fc.record({ at: fc.nat(whole.length - 1), value: fc.integer({ min: 1, max: 255 }) }),
        fc.record({ cut: fc.nat(whole.length - 1) }),
      )
      const property = fc.asyncProperty(damage, async (change) => {
        const bytes = 'cut' in change ? whole.subarray(0, change.cut) : Buffer.from(whole)
        if ('at' in change) bytes[change.at] ^= change.value
        writeFileSync(`${archive}.idx`, bytes)
        const { content, warnings } = await contentOf(archive)
        assert.ok(content.equals(IMAGE))
        assert.equal(warnings.length, 1)
      })
      await fc.assert(property, { numRuns: 30, seed })
    }
  })

  test('whose map of frames is wrong although its checksums are right, is not used', async (t) => {
    const archive = await written(t, { ...foreign, method: 'zstd', frame: 1 << 20 })
    await indexArchive({ archive })
    const sidecar = (await readSidecar(archive))!
    const lies: ((first: Frame, second: Frame) => void)[] = [
      (first) => first.contentBytes++,
      (first, second) => {
        first.bytes -= 5
        second.bytes += 5
      },
    ]
    for (const lie of lies) {
      const { map } = sidecar.frames!
      const frames = framesIn(await map.read(0, map.size))
      lie(frames[0], frames[1])
      const bytes = mapInMemory(mapOf(frames))
      const table = await FrameTable.read(bytes, { total: { most: Number.MAX_SAFE_INTEGER } })
      await writeSidecar(archive, { ...sidecar, frames: table }, { force: true })
      const { content, warnings } = await contentOf(archive)
      assert.ok(content.equals(IMAGE))
      assert.match(warnings.join(), /^the index beside the archive is not used: /)
    }
  })

  for (const what of ['FIFO', 'folder', 'socket'])
    test(`that is a ${what} is not waited for, and not used`, async (t) => {
      const archive = await written(t, foreign)
      if (what === 'FIFO') execFileSync('mkfifo', [`${archive}.idx`])
      else if (what === 'folder') mkdirSync(`${archive}.idx`)
      else {
        const server = createServer().listen(`${archive}.idx`)
        t.after(() => server.close())
        await once(server, 'listening')
      }
      const { content, warnings } = await contentOf(archive)
      assert.ok(content.equals(IMAGE))
      assert.equal(warnings.length, 1)
      assert.match(warnings[0], /the index beside the archive is not used/)
    })

  test('of an archive that was cut says what that lacks', async (t) => {
    const archive = await written(t, foreign)
    const bytes = readFileSync(archive)
    writeFileSync(archive, bytes.subarray(0, bytes.length - 100_000))
    const warnings: string[] = []
    await indexArchive({ archive, warn: (message) => warnings.push(message) })
    assert.match(warnings.join(), /ends within an extent/)
    await assert.rejects(contentOf(archive), { code: 'INCOMPLETE', line: /drive-scsi0, cluster \d+/ })
  })
})
