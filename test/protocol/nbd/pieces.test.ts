import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cutBuffers } from '../../../src/protocol/nbd/pieces.ts'

const sizes = fc.record({
  offset: fc.nat(100_000),
  align: fc.constantFrom(1, 2, 512, 4096),
  most: fc.integer({ min: 4096, max: 20_000 }),
})

test('cut buffers are the same bytes in the same order', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 8 }),
      sizes,
      (buffers, { offset, align, most }) => {
        const cut = cutBuffers(buffers, offset, most, align)
        for (const { payload, length } of cut) {
          assert.equal(Buffer.concat(payload).length, length)
          assert.ok(payload.every(({ byteLength }) => byteLength > 0))
        }
        assert.ok(Buffer.concat(cut.flatMap(({ payload }) => payload)).equals(Buffer.concat(buffers)))
      },
    ),
  )
})
