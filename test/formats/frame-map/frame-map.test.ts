import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { readFrameTable } from '../../../src/access/frame-table.ts'
import { decodeFooter, type Frame, FrameMapWriter, TAIL_SIZE } from '../../../src/formats/frame-map/frame-map.ts'
import type { ArchiveBytes } from '../../../src/storage/archive/archive-bytes.ts'
import { framesIn } from '../../access/frame-maps.ts'

const containers = ['skippable', 'gzip'] as const

/** The end of an archive of frames of these sizes, in bytes, all of whose bytes are 7. */
function ending(container: (typeof containers)[number], sizes: [number, number][]) {
  const writer = new FrameMapWriter(container)
  for (const [bytes, contentBytes] of sizes) writer.add([Buffer.alloc(bytes, 7)], contentBytes)
  return Buffer.concat(writer.finish())
}

/** Of an archive with this end, whose frames are zeroes. */
async function framesOf(end: Buffer, frameBytes: number): Promise<Frame[]> {
  const file: ArchiveBytes = {
    size: frameBytes + end.length,
    async read(buffer, offset) {
      assert.ok(offset >= 0 && offset + buffer.length <= this.size)
      buffer.fill(0)
      end.copy(buffer, Math.max(0, frameBytes - offset), Math.max(0, offset - frameBytes))
    },
    close: async () => {},
  }
  const { map } = (await readFrameTable(file))!
  return framesIn(await map.read(0, map.size))
}

for (const container of containers) {
  test(`${container}: the map is found from the end, and tells every frame`, async () => {
    const sizes = fc.array(fc.tuple(fc.integer({ min: 8, max: 300 }), fc.nat(2 ** 46)), { maxLength: 50 })
    await fc.assert(
      fc.asyncProperty(sizes, async (sizes) => {
        const end = ending(container, sizes)
        const footer = decodeFooter(end.subarray(-TAIL_SIZE))!
        assert.equal(footer.wrappedBytes, end.length - footer.length)
        const frames = await framesOf(end, footer.frameBytes)
        assert.deepEqual(
          frames.map(({ bytes, contentBytes }) => [bytes, contentBytes]),
          sizes,
        )
        const before = Buffer.concat([Buffer.alloc(footer.frameBytes, 7), end.subarray(0, -footer.length)])
        assert.equal(footer.checksum, crc32(before))
      }),
      { numRuns: 50 },
    )
  })

  test(`${container}: with any bit of the map or the footer changed it is damage`, async () => {
    const end = ending(container, [
      [100, 1000],
      [9, 6],
    ])
    for (let bit = 0; bit < end.length * 8; bit++) {
      const bad = Buffer.from(end)
      bad[bit >>> 3] ^= 1 << (bit & 7)
      // Empty members are not of the map: their ends are in the checksum of the whole.
      if (container === 'gzip' && bit >>> 3 < end.length - TAIL_SIZE && bit >>> 3 >= end.length - TAIL_SIZE - 10)
        continue
      await assert.rejects(framesOf(bad, 109), { code: 'DAMAGED' }, `bit ${bit}`)
    }
  })
}

test('a map of many frames takes several gzip members', async () => {
  const sizes: [number, number][] = Array.from({ length: 40_000 }, (_, n) => [8 + (n % 5), 4 << 20])
  const end = ending('gzip', sizes)
  const footer = decodeFooter(end.subarray(-TAIL_SIZE))!
  assert.ok(footer.mapBytes > 130_000)
  assert.equal((await framesOf(end, footer.frameBytes)).length, 40_000)
})

test('what ends in anything else has no footer', () => {
  for (const bytes of [0, 10, 48, 66]) assert.equal(decodeFooter(Buffer.alloc(bytes, 1)), null)
})
