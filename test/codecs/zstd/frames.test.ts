import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { byLibzstd, byZlib, zstdBound } from '../../../src/codecs/zstd/frames.ts'
import { libzstd } from '../../../src/codecs/zstd/libzstd.ts'
import { halfCompressible, piped } from '../../support/content.ts'
import { seeded } from '../../support/random.ts'
import { needs } from '../../support/tools.ts'

const timeout = 60_000
const MiB = 1 << 20
const LEVELS = [-7, -3, -1, ...Array.from({ length: 19 }, (_, index) => index + 1)]

test('Node carries libzstd', () => {
  assert.notEqual(libzstd(), null)
})

for (const [name, frames] of Object.entries({ libzstd: byLibzstd(libzstd()!), zlib: byZlib })) {
  describe(`zstd frames by ${name}`, { timeout }, () => {
    const content = halfCompressible(MiB)

    async function encoded(bytes: Buffer, level = 3): Promise<Buffer> {
      const encoder = frames.encoder(level)
      const frame = Buffer.alloc(zstdBound(bytes.length))
      const length = await encoder.encode(bytes, frame)
      encoder.close()
      return frame.subarray(0, length)
    }

    test('at every level and of any size: zstd reads them, and so do we', needs('zstd'), async () => {
      for (const level of LEVELS) {
        const frame = await encoded(content, level)
        assert.ok(piped('zstd', ['-dc'], frame).equals(content), `level ${level}`)
      }
      for (const size of [0, 1, 4095, 65_537]) {
        const bytes = content.subarray(0, size)
        const frame = await encoded(bytes)
        assert.ok(piped('zstd', ['-dc'], frame).equals(bytes))
        for (const room of [size, size + 1000]) {
          const target = Buffer.alloc(room)
          assert.equal(await frames.decode(frame, target), size)
          assert.ok(target.subarray(0, size).equals(bytes))
          assert.equal(frames.decodeNow(frame, target.fill(0)), size)
          assert.ok(target.subarray(0, size).equals(bytes))
        }
      }
    })

    test('of bytes that cannot be compressed', async () => {
      const random = seeded(1)
      const noise = Buffer.from(Uint8Array.from({ length: 300_000 }, () => random() * 256))
      const frame = await encoded(noise)
      const target = Buffer.alloc(noise.length)
      await frames.decode(frame, target)
      assert.ok(target.equals(noise))
    })

    test('many at once, with memory that is used again', async () => {
      const encoder = frames.encoder(1)
      const work = Array.from({ length: 24 }, async (_, index) => {
        const bytes = content.subarray(index * 1000, index * 1000 + 500_000)
        const frame = Buffer.alloc(zstdBound(bytes.length))
        const length = await encoder.encode(bytes, frame)
        const target = Buffer.alloc(bytes.length)
        await frames.decode(frame.subarray(0, length), target)
        assert.ok(target.equals(bytes))
      })
      await Promise.all(work)
      encoder.close()
    })

    test('a frame that is damaged, cut short or too large is an error, and the next one none', async () => {
      const frame = await encoded(content)
      const flipped = Buffer.from(frame)
      flipped[frame.length >> 1] ^= 0x10
      const target = Buffer.alloc(MiB)
      for (const bad of [flipped, frame.subarray(0, frame.length - 5), Buffer.alloc(100, 'x')]) {
        await assert.rejects(async () => assert.equal(await frames.decode(bad, target), MiB), bad.toString('hex', 0, 8))
        assert.throws(() => assert.equal(frames.decodeNow(bad, target), MiB))
      }
      const small = Buffer.alloc(MiB + 64, 7)
      await assert.rejects(frames.decode(frame, small.subarray(0, MiB - 1)))
      assert.throws(() => frames.decodeNow(frame, small.subarray(0, 0)))
      assert.ok(
        small.subarray(MiB).every((byte) => byte === 7),
        'nothing is written behind the end',
      )
      assert.equal(await frames.decode(frame, target), MiB)
      assert.ok(target.equals(content))
    })
  })
}
