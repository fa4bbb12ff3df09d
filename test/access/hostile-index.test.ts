import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { walkFrames } from '../../src/codecs/frame-walk.ts'
import { FrameMapWriter } from '../../src/formats/frame-map/frame-map.ts'
import { decodeClosing, encodeClosing } from '../../src/formats/vma/closing.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE } from '../../src/formats/vma/extent.ts'
import { encodeRecord, PAGE, RECORD_BYTES } from '../../src/formats/vma/records.ts'
import { ArchiveFile } from '../../src/storage/archive/archive-file.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { framesIn } from './frame-maps.ts'
import { archiveOf, manifestFor, opened, patchyImage } from './made-archive.ts'

const limits = { timeout: 120_000 }

const IMAGES = [patchyImage(6_000_000), patchyImage(400_000)]
const { uuid } = manifestFor(IMAGES)

function closingOf(archive: Buffer) {
  const at = archive.length - EXTENT_HEADER_SIZE
  return decodeClosing(decodeExtentHeader(archive.subarray(at), uuid, at).record!)!
}

function tableOf(archive: Buffer): Buffer {
  const { bytes, pages, tableBytes } = closingOf(archive)
  const parts = Array.from({ length: pages }, (_, page) => {
    const at = bytes + page * EXTENT_HEADER_SIZE
    return decodeExtentHeader(archive.subarray(at, at + EXTENT_HEADER_SIZE), uuid, at).record!.bytes
  })
  return Buffer.concat(parts).subarray(0, tableBytes)
}

/** The archive with another table, whose checksums are right. */
function withTable(archive: Buffer, table: Buffer, extents = closingOf(archive).extents): Buffer {
  const { bytes } = closingOf(archive)
  const pages = Array.from({ length: Math.ceil(table.length / RECORD_BYTES) }, (_, number) =>
    encodeRecord(uuid, {
      kind: PAGE,
      number,
      bytes: table.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES),
    }),
  )
  const closing = {
    hasIndex: true,
    hasHashes: false,
    pages: pages.length,
    tableBytes: table.length,
    tableChecksum: crc32(table),
    extents,
    bytes,
  }
  return Buffer.concat([archive.subarray(0, bytes), ...pages, encodeClosing(uuid, closing)])
}

/** Reads everything in pieces: each is right, or refused. Gives how many were refused. */
async function readEverything(
  t: Parameters<typeof opened>[0],
  bytes: Buffer,
): Promise<{ refused: number; warned: boolean }> {
  const { archive, warnings } = await opened(t, bytes)
  let refused = 0
  for (const [index, image] of IMAGES.entries()) {
    const drive = archive.drive(`drive-scsi${index}`)
    for (let at = 0; at < image.length; at += 50_000) {
      const buffer = Buffer.alloc(Math.min(50_000, image.length - at))
      try {
        await drive.read(buffer, at)
      } catch (error: any) {
        assert.match(error.code, /^(DAMAGED|INCOMPLETE)$/, error.stack)
        refused++
        continue
      }
      assert.ok(buffer.equals(image.subarray(at, at + buffer.length)), `drive ${index}, ${at}: wrong data`)
    }
    for await (const { offset, length, zero } of drive.map(0, image.length))
      if (zero)
        assert.ok(
          image.subarray(offset, offset + length).every((byte) => byte === 0),
          `${offset} is not zero`,
        )
  }
  await archive.close()
  return { refused, warned: warnings.length > 0 }
}

describe(`an index that is wrong is never believed (seed ${seed})`, () => {
  test('any change of its table, although its checksums are right', limits, async (t) => {
    const archive = await archiveOf(IMAGES, { random: seeded(seed) })
    const table = tableOf(archive)
    assert.deepEqual(await readEverything(t, withTable(archive, table)), { refused: 0, warned: false })
    let noticed = 0
    const change = fc.record({ at: fc.nat(table.length - 1), value: fc.integer({ min: 1, max: 255 }) })
    const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const other = Buffer.from(table)
      for (const { at, value } of changes) other[at] ^= value
      const { refused, warned } = await readEverything(t, withTable(archive, other))
      if (refused > 0 || warned) noticed++
    })
    await fc.assert(property, { numRuns: 30, seed })
    assert.ok(noticed > 20, `only ${noticed} lies were noticed`)
  })

  test('a hole where there is data, and data where there is a hole', limits, async (t) => {
    // One cluster has data, the next has none: the kinds of their runs change places.
    const image = Buffer.alloc(2 * 65536)
    image.fill(7, 0, 65536)
    const archive = await archiveOf([image])
    const table = tableOf(archive)
    assert.equal(table.toString('hex', 0, 8), '1002010001010000')
    const lie = Buffer.from(table)
    lie[4] ^= 1
    lie[7] ^= 1
    const { archive: archived, warnings } = await opened(t, withTable(archive, lie))
    const drive = archived.drive('drive-scsi0')
    for (const at of [0, 65536])
      await assert.rejects(drive.read(Buffer.alloc(10), at), { code: 'DAMAGED', message: /contradict each other/ })
    assert.deepEqual(warnings, [])
    for await (const { zero } of drive.map(0, image.length)) assert.equal(zero, false)
  })

  test('a closing extent that does not fit', limits, async (t) => {
    const archive = await archiveOf(IMAGES)
    const table = tableOf(archive)
    for (const extents of [0, 1, 2 ** 40, 2 ** 52]) {
      const { refused, warned } = await readEverything(t, withTable(archive, table, extents))
      assert.deepEqual([refused, warned], [0, true], `${extents}`)
    }
    const { bytes } = closingOf(archive)
    const closing = (change: object) =>
      Buffer.concat([
        archive.subarray(0, -EXTENT_HEADER_SIZE),
        encodeClosing(uuid, { ...closingOf(archive), ...change }),
      ])
    for (const change of [
      { bytes: bytes + 512 },
      { bytes: 0 },
      { tableChecksum: 1 },
      { pages: 2 ** 31, tableBytes: 2 ** 31 * RECORD_BYTES },
    ])
      assert.deepEqual(await readEverything(t, closing(change)), { refused: 0, warned: true }, JSON.stringify(change))
  })

  test('a map of frames that cuts them elsewhere, or says that they hold something else', limits, async (t) => {
    for (const method of ['zstd', 'lz4', 'gzip'] as const) {
      const bytes = await archiveOf(IMAGES, { method, frame: 1 << 17, map: false, random: seeded(seed) })
      const path = join(tmpDir(t), 'a.vma')
      writeFileSync(path, bytes)
      const file = await ArchiveFile.open(path)
      const frames = framesIn((await walkFrames(file)).map)
      await file.close()
      const change = fc.record({
        frame: fc.nat(frames.length - 2),
        bytes: fc.constantFrom(0, 0, 1, -1, 4000),
        content: fc.constantFrom(0, 1, -1, 4096, -512, 2 ** 40),
      })
      const property = fc.asyncProperty(change, async ({ frame, bytes: moved, content }) => {
        const lies = structuredClone(frames)
        lies[frame].bytes += moved
        lies[frame + 1].bytes -= moved
        lies[frame].contentBytes = Math.max(0, lies[frame].contentBytes + content)
        const map = new FrameMapWriter(method === 'gzip' ? 'gzip' : 'skippable')
        let at = 0
        for (const { bytes: length, contentBytes } of lies) {
          map.add([bytes.subarray(at, at + length)], contentBytes)
          at += length
        }
        const archive = Buffer.concat([bytes, ...map.finish()])
        try {
          const { refused, warned } = await readEverything(t, archive)
          assert.ok(refused > 0 || warned || (moved === 0 && content === 0), `${moved}, ${content}`)
        } catch (error: any) {
          // Its header, or memory for such frames, is not to be had.
          assert.match(error.code, /^(DAMAGED|USAGE|INCOMPLETE)$/, error.stack)
        }
      })
      await fc.assert(property, { numRuns: 15, seed })
    }
  })

  test('another archive behind the same header', limits, async (t) => {
    const archive = await archiveOf(IMAGES, { random: seeded(1) })
    const other = await archiveOf(IMAGES, { random: seeded(2) })
    const { refused } = await readEverything(t, withTable(archive, tableOf(other)))
    assert.ok(refused > 50, `${refused}`)
  })
})
