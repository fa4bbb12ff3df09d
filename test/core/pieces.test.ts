import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { piecesOf } from '../../src/core/pieces.ts'

const sizes = fc.record({
  offset: fc.nat(100_000),
  length: fc.nat(50_000),
  align: fc.constantFrom(1, 2, 512, 4096),
  most: fc.integer({ min: 4096, max: 20_000 }),
})

test('pieces adjoin, cover the range, fit the limit and begin aligned', () => {
  fc.assert(
    fc.property(sizes, ({ offset, length, align, most }) => {
      let position = offset
      for (const piece of piecesOf(offset, length, most, align)) {
        assert.equal(piece.offset, position)
        assert.ok(piece.length > 0 && piece.length <= most)
        assert.ok(position === offset || position % align === 0)
        position += piece.length
      }
      assert.equal(position, offset + length)
    }),
  )
})
