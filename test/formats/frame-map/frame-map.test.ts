import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { decodeFooter, decodeFrameMap, FrameMapWriter, TAIL_SIZE } from '../../../src/formats/frame-map/frame-map.ts'

const containers = ['skippable', 'gzip'] as const

/** The end of an archive of frames of these sizes, in bytes, all of whose bytes are 7. */
function ending(container: (typeof containers)[number], sizes: [number, number][]) {
  const writer = new FrameMapWriter(container)
  for (const [bytes, contentBytes] of sizes) writer.add([Buffer.alloc(bytes, 7)], contentBytes)
  return Buffer.concat(writer.finish())
}

for (const container of containers) {
  test(`${container}: the map is found from the end, and tells every frame`, () => {
    const sizes = fc.array(fc.tuple(fc.nat(300), fc.maxSafeNat()), { maxLength: 50 })
    fc.assert(
      fc.property(sizes, (sizes) => {
        const end = ending(container, sizes)
        const footer = decodeFooter(end.subarray(-TAIL_SIZE))!
        assert.equal(footer.heldBytes, end.length - footer.length)
        const frames = decodeFrameMap(end.subarray(0, footer.heldBytes), footer)
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

  test(`${container}: with any bit of the map or the footer changed it is damage`, () => {
    const end = ending(container, [
      [100, 1000],
      [5, 6],
    ])
    for (let bit = 0; bit < end.length * 8; bit++) {
      const bad = Buffer.from(end)
      bad[bit >>> 3] ^= 1 << (bit & 7)
      const read = () => {
        const footer = decodeFooter(bad.subarray(-TAIL_SIZE))!
        return decodeFrameMap(bad.subarray(0, footer.heldBytes), footer)
      }
      // Empty members are not of the map: their ends are in the checksum of the whole.
      if (container === 'gzip' && bit >>> 3 < end.length - TAIL_SIZE && bit >>> 3 >= end.length - TAIL_SIZE - 10)
        continue
      assert.throws(read, { code: 'DAMAGED' }, `bit ${bit}`)
    }
  })
}

test('a map of many frames takes several gzip members', () => {
  const sizes: [number, number][] = Array.from({ length: 40_000 }, (_, n) => [n % 5, 4 << 20])
  const end = ending('gzip', sizes)
  const footer = decodeFooter(end.subarray(-TAIL_SIZE))!
  assert.ok(footer.mapBytes > 130_000)
  assert.equal(decodeFrameMap(end.subarray(0, footer.heldBytes), footer).length, 40_000)
})

test('what ends in anything else has no footer, and what lies about its map is damage', () => {
  for (const bytes of [0, 10, 48, 66]) assert.equal(decodeFooter(Buffer.alloc(bytes, 1)), null)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const held = Buffer.from(bytes)
      const footer = {
        container: 'skippable',
        mapChecksum: crc32(held.subarray(8)),
        mapBytes: held.length - 8,
      } as const
      assert.throws(() => decodeFrameMap(held, { ...footer, frameBytes: 1, heldBytes: 0, checksum: 0, length: 48 }), {
        code: 'DAMAGED',
      })
    }),
  )
})
