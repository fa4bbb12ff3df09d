import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Budget, Lease } from '../../src/core/budget.ts'
import { ByteQueue } from '../../src/core/byte-queue.ts'
import { Chunk } from '../../src/core/items.ts'

test('a byte queue gives the bytes in order, whatever the pieces, and every lease goes back', {
  timeout: 60_000,
}, async () => {
  const sizes = fc.array(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 5 }), { maxLength: 10 })
  await fc.assert(
    fc.asyncProperty(sizes, fc.array(fc.integer({ min: 1, max: 80 })), async (chunks, takes) => {
      const budget = new Budget(1 << 20)
      const queue = new ByteQueue()
      let made = 0
      for (const parts of chunks) {
        const lease = await budget.charge(10)
        const buffers = parts.map((size) => Buffer.from(Array.from({ length: size }, () => made++ % 251)))
        queue.push(new Chunk(buffers, [lease]))
      }
      let position = 0
      const expected = Buffer.from(Array.from({ length: made }, (_, index) => index % 251))
      for (const wanted of takes) {
        const count = Math.min(wanted, queue.length)
        assert.ok(queue.peek(count).equals(expected.subarray(position, position + count)))
        const { buffers, leases } = queue.take(count)
        assert.ok(Buffer.concat(buffers).equals(expected.subarray(position, position + count)))
        for (const lease of leases) lease.release()
        position += count
        assert.equal(queue.position, position)
      }
      queue.clear()
      assert.equal(budget.used, 0)
    }),
    { interruptAfterTimeLimit: 5_000 },
  )
})

test('a byte queue finds what is spread over any number of pieces', { timeout: 60_000 }, () => {
  const letters = fc.array(fc.constantFrom('a', 'b'), { maxLength: 6 }).map((all) => all.join(''))
  const needles = fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 5 }).map((all) => all.join(''))
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 12 }), needles, (pieces, needle) => {
      const queue = new ByteQueue()
      queue.push(new Chunk(pieces.map((piece) => Buffer.from(piece))))
      assert.equal(queue.indexOf(Buffer.from(needle)), pieces.join('').indexOf(needle))
    }),
    { interruptAfterTimeLimit: 5_000, numRuns: 2000 },
  )
})

test('bytes behind the next ones are looked at where they are, across chunks', () => {
  const queue = new ByteQueue()
  let freed = 0
  const lease = () => new Lease(3, () => void freed++)
  const leases = [lease(), lease(), lease()]
  for (const [index, text] of ['abc', 'def', 'ghi'].entries())
    queue.push(new Chunk([Buffer.from(text)], [leases[index]]))
  queue.skip(1)
  assert.equal(queue.peek(4, 3).toString(), 'efgh')
  assert.equal(queue.peek(1, 2).toString(), 'd')
  const seen = queue.lookAt(2, 2)
  assert.deepEqual([Buffer.concat(seen.buffers).toString(), seen.leases], ['de', [leases[1]]])
  assert.deepEqual(queue.lookAt(1, 4).leases, leases.slice(0, 2))
  assert.deepEqual(queue.lookAt(8, 0), { buffers: [], leases: [] })
  assert.deepEqual([queue.length, freed], [8, 0])
  queue.clear()
  assert.equal(freed, 3)
})
