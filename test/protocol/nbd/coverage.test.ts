import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Coverage } from '../../../src/protocol/nbd/coverage.ts'

test('agrees with a list of bytes on what overlaps and what is complete', () => {
  const chunk = fc.tuple(fc.nat(30), fc.integer({ min: 1, max: 12 }))
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
      const coverage = new Coverage(32)
      const model = new Set<number>()
      for (const [start, length] of chunks) {
        const bytes = Array.from({ length }, (_, i) => start + i)
        const refused = start + length > 32 || bytes.some((byte) => model.has(byte))
        if (refused) assert.throws(() => coverage.add(start, start + length), { message: /protocol/ })
        else {
          coverage.add(start, start + length)
          for (const byte of bytes) model.add(byte)
        }
        assert.equal(coverage.isComplete, model.size === 32)
      }
    }),
    { numRuns: 2000 },
  )
})

test('a reply in thousands of scattered pieces is refused', () => {
  const coverage = new Coverage(1_000_000)
  assert.throws(
    () => {
      for (let i = 0; i < 500_000; i++) coverage.add(i * 2, i * 2 + 1)
    },
    { message: /too many pieces/ },
  )
})
