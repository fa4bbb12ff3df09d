import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PageAllowance, PagedBitmap } from '../../src/core/paged-bitmap.ts'

const PAGE_BYTES = 20
const SIZE = 3 * PAGE_BYTES * 8 + 37

const range = fc
  .tuple(fc.nat(SIZE), fc.oneof(fc.nat(20), fc.nat(SIZE)))
  .map(([from, length]) => [from, Math.min(SIZE, from + length)] as const)

test('a bitmap knows what was set, in whatever pieces, and its runs', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (added, [from, to]) => {
      const bitmap = new PagedBitmap(SIZE, PAGE_BYTES)
      const model = new Uint8Array(SIZE)
      for (const [start, end] of added) {
        bitmap.add(start, end)
        model.fill(1, start, end)
      }
      assert.equal(bitmap.count, model.filter(Boolean).length)
      assert.equal(bitmap.hasAll(from, to), model.subarray(from, to).every(Boolean))
      const end = bitmap.runEnd(from, to)
      assert.ok(model.subarray(from, end).every((bit) => bit === model[from]))
      assert.ok(end === to || model[end] !== model[from])
      const copy = new PagedBitmap(SIZE, PAGE_BYTES)
      for (let page = 0; page < 4; page++) copy.load(page, bitmap.bits(page) ?? new Uint8Array(PAGE_BYTES))
      for (let bit = 0; bit < SIZE; bit++) assert.equal(copy.has(bit), model[bit] === 1)
      assert.equal(copy.count, bitmap.count)
    }),
    { numRuns: 200, interruptAfterTimeLimit: 10_000 },
  )
})

test('only partly filled pages count against the allowance, whichever way they fill up', () => {
  const allowance = new PageAllowance()
  allowance.left = 2
  const bitmap = new PagedBitmap(PAGE_BYTES * 8 * 10, PAGE_BYTES, allowance)
  const page = PAGE_BYTES * 8
  bitmap.add(0, page * 3)
  assert.equal(allowance.left, 2)
  bitmap.add(3 * page, 3 * page + 5)
  bitmap.add(5 * page + 9)
  assert.equal(allowance.left, 0)
  assert.throws(() => bitmap.add(7 * page), { code: 'DAMAGED', message: /too scattered/ })
  bitmap.add(3 * page + 2, 4 * page)
  bitmap.add(5 * page, 6 * page)
  assert.equal(allowance.left, 2)
  assert.equal(bitmap.count, page * 5)
})
