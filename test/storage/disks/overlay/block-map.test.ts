import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BlockMap, PAGE_BLOCKS } from '../../../../src/storage/disks/overlay/block-map.ts'

const SIZE = 3 * PAGE_BLOCKS + 100

const range = fc
  .tuple(fc.nat(SIZE), fc.oneof(fc.nat(40), fc.nat(SIZE)))
  .map(([from, length]) => [from, Math.min(SIZE, from + length)] as const)

test('a map knows what was added, in whatever pieces, and its runs', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (added, [from, to]) => {
      const map = new BlockMap(SIZE)
      const changed = map.track()
      const model = new Uint8Array(SIZE)
      for (const [start, end] of added) {
        map.add(start, end)
        model.fill(1, start, end)
      }
      assert.equal(
        map.count,
        model.reduce((sum, bit) => sum + bit, 0),
      )
      assert.equal(map.isComplete, model.every(Boolean))
      assert.equal(map.hasAll(from, to), model.subarray(from, to).every(Boolean))
      for (let block = 0; block < SIZE; ) {
        const end = map.runEnd(block, SIZE)
        assert.ok(end > block)
        assert.ok(model.subarray(block, end).every((bit) => bit === model[block]) && model[end] !== model[block])
        assert.equal(map.has(block), model[block] === 1)
        block = end
      }
      const loaded = new BlockMap(SIZE)
      for (const page of changed.take().inOrder) loaded.load(page, map.bits(page)!)
      assert.equal(loaded.count, map.count)
      assert.equal(loaded.runEnd(0, SIZE), map.runEnd(0, SIZE))
      assert.ok(changed.isEmpty)
    }),
    { numRuns: 30, interruptAfterTimeLimit: 10_000 },
  )
})

test('bits past the end of the disk are not taken for blocks', () => {
  const map = new BlockMap(10)
  map.load(0, new Uint8Array(508).fill(0xff))
  assert.equal(map.count, 10)
  assert.ok(map.isComplete)
})

test('a disk that is full takes next to no memory, however large it is', () => {
  const map = new BlockMap(2 ** 30)
  const before = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
  map.add(0, 2 ** 30)
  const grown = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers - before
  assert.ok(map.isComplete)
  assert.ok(grown < 100 * 2 ** 20, `${grown} bytes`)
})
