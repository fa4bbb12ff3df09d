import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount, roundUp } from '../../src/core/geometry.ts'
import { type Item, type Range, type RangeItem, Run } from '../../src/core/items.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { zeroExpander } from '../../src/stages/zero-expander.ts'
import { manifestOf, through } from '../support/flow.ts'

/** An image out of blocks: 0 is a zero block, anything else a block with one byte that is not zero, at that place. */
function imageOf(blocks: number[], size: number): Buffer {
  const image = Buffer.alloc(roundUp(size, BLOCK_SIZE))
  for (const [index, place] of blocks.entries()) {
    if (place > 0 && index * BLOCK_SIZE + place - 1 < size) image[index * BLOCK_SIZE + place - 1] = 0xff
  }
  return image
}

function rebuild(items: RangeItem[], size: number): Buffer {
  const image = Buffer.alloc(size, 0xee)
  for (const item of items as Range[]) {
    if ((item.kind as string) === 'manifest') continue
    assert.ok(item.offset + item.length <= size, 'nothing reaches past the end')
    if (item.data === null) image.fill(0, item.offset, item.offset + item.length)
    else Buffer.concat(item.data).copy(image, item.offset)
  }
  return image
}

describe('zero elider and zero expander', { timeout: 180_000 }, () => {
  test('undo each other, whatever is zero and however the drive ends', async () => {
    const place = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: BLOCK_SIZE }))
    const shape = fc.record({
      blocks: fc.array(place, { minLength: 1, maxLength: 70 }),
      cut: fc.integer({ min: 0, max: BLOCK_SIZE - 1 }),
      clustersARun: fc.integer({ min: 1, max: 6 }),
    })
    await fc.assert(
      fc.asyncProperty(shape, async ({ blocks, cut, clustersARun }) => {
        const size = blocks.length * BLOCK_SIZE - cut
        const image = imageOf(blocks, size)
        const items: Item[] = [manifestOf(size)]
        for (let first = 0; first < clusterCount(size); first += clustersARun) {
          const count = Math.min(clustersARun, clusterCount(size) - first)
          items.push(new Run(1, first, count, [image.subarray(first * CLUSTER_SIZE, (first + count) * CLUSTER_SIZE)]))
        }
        const ranges = await through<RangeItem>('clusters', items, [zeroElider(), zeroExpander()])
        assert.ok(rebuild(ranges, size).equals(image.subarray(0, size)))
        const stored = ranges.reduce((sum, range) => sum + (range.kind === 'range' && range.data ? range.length : 0), 0)
        const holding = blocks.filter((place, index) => place > 0 && index * BLOCK_SIZE + place - 1 < size).length
        assert.ok(stored <= holding * BLOCK_SIZE, 'no block of zeroes is written')
      }),
      { interruptAfterTimeLimit: 10_000, numRuns: 300 },
    )
  })

  test('the elider finds a single bit anywhere in a block', async () => {
    for (const at of [0, 1, 7, 8, 1023, 1024, 2047, 2048, 4094, 4095]) {
      const block = Buffer.alloc(BLOCK_SIZE)
      block[at] = 1
      const [, run] = (await through(
        'clusters',
        [manifestOf(BLOCK_SIZE), new Run(1, 0, 1, [block])],
        [zeroElider()],
      )) as [Item, Run]
      assert.deepEqual([...run.masks!], [1], `byte ${at}`)
    }
  })

  test('a long hole becomes few ranges', async () => {
    const clusters = 40_000
    const runs = Array.from({ length: clusters / 100 }, (_, index) => new Run(1, index * 100, 100, []))
    const ranges = await through('clusters', [manifestOf(clusters * CLUSTER_SIZE), ...runs], [zeroExpander()])
    assert.ok(ranges.length <= 5, `${ranges.length} items`)
  })
})
