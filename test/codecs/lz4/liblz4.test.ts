import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { lz4Encoder } from '../../../src/codecs/lz4/encoder.ts'
import { liblz4 } from '../../../src/codecs/lz4/liblz4.ts'
import { Findings } from '../../../src/core/findings.ts'
import { isOurLz4, LZ4_HEADER_LIMIT, readLz4Header } from '../../../src/formats/lz4/frame.ts'
import { decompressor } from '../../../src/stages/decompressor.ts'
import { throughBytes } from '../../support/bytes.ts'
import { halfCompressible } from '../../support/content.ts'
import { lacking, which } from '../../support/tools.ts'

const timeout = 60_000
const SIZES = [0, 1, 5000, 65_536, 262_144, 262_145, 3_000_001]

async function framed(content: Buffer, encoder = lz4Encoder()): Promise<Buffer> {
  const room = Buffer.alloc(encoder.bound(content.length))
  return room.subarray(0, await encoder.encode(content, room))
}

describe('frames of liblz4', { timeout }, () => {
  for (const [how, encoder] of [
    ['liblz4', () => lz4Encoder()],
    ['lz4-napi', () => lz4Encoder(null)],
  ] as const) {
    test(`made by ${how} are read by the lz4 program, by liblz4, and by a restore`, async (t) => {
      const native = liblz4()
      if (native === null || which('lz4') === undefined) return lacking(t, 'needs liblz4 and the lz4 program')
      for (const size of SIZES) {
        const content = halfCompressible(size, 7)
        const frame = await framed(content, encoder())
        const header = readLz4Header(frame.subarray(0, LZ4_HEADER_LIMIT), 0)
        assert.ok(header !== null && isOurLz4(header))
        assert.equal(header.contentSize, size)
        assert.ok(execFileSync('lz4', ['-dc'], { input: frame, maxBuffer: 8 << 20 }).equals(content), `${size}`)
        const decoded = Buffer.alloc(size)
        if (size > 0) assert.equal(await native.decode(frame, decoded), size)
        assert.ok(decoded.equals(content))
        assert.ok((await throughBytes(decompressor(), [frame])).equals(content))
      }
    })
  }

  test('with any byte changed, cut short, followed by more, or larger than said, are refused', async (t) => {
    const native = liblz4()
    if (native === null) return lacking(t, 'needs liblz4')
    const content = halfCompressible(3000, 9)
    const frame = await framed(content)
    const target = Buffer.alloc(content.length)
    for (let index = 0; index < frame.length; index++) {
      const flipped = Buffer.from(frame)
      flipped[index] ^= 1 << (index % 8)
      const length = await native.decode(flipped, target).catch(() => -1)
      assert.ok(length === -1 || target.equals(content), `byte ${index}`)
    }
    for (const wrong of [frame.subarray(0, -1), Buffer.concat([frame, Buffer.alloc(4)])])
      await assert.rejects(native.decode(wrong, target))
    await assert.rejects(native.decode(frame, target.subarray(1)))
    assert.equal(await native.decode(frame, target), content.length)
  })

  test('whose damage is in one block lose only what is around it', async (t) => {
    if (liblz4() === null) return lacking(t, 'needs liblz4')
    const content = halfCompressible(4_000_000, 5)
    const frame = await framed(content)
    frame.fill(0xff, 90_000, 90_040)
    const findings = new Findings()
    const out = await throughBytes(decompressor({ findings }), [frame])
    assert.ok(findings.damage.length > 0)
    assert.ok(out.length >= 2_900_000, `${out.length}`)
    assert.ok(out.subarray(-1_000_000).equals(content.subarray(-1_000_000)))
  })
})
