import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { wholeBlocks } from '../../../src/live/restore/source.ts'
import type { DriveExtent } from '../../../src/storage/drive.ts'
import { collect } from '../../storage/contract.ts'

test('extents of any alignment become whole blocks, of which none is called zero that is not', async () => {
  const lengths = fc.array(fc.record({ length: fc.integer({ min: 1, max: 20_000 }), zero: fc.boolean() }), {
    maxLength: 20,
  })
  await fc.assert(
    fc.asyncProperty(fc.nat(20), lengths, async (firstBlock, pieces) => {
      const start = firstBlock * 4096
      const extents: DriveExtent[] = []
      let end = start
      for (const { length, zero } of pieces) {
        extents.push({ offset: end, length, zero })
        end += length
      }
      const whole = await collect(
        wholeBlocks(
          (async function* () {
            yield* extents
          })(),
          end,
        ),
      )
      let position = start
      for (const { offset, length, zero } of whole) {
        assert.equal(offset, position)
        assert.equal(offset % 4096, 0)
        position += length
        assert.ok(position % 4096 === 0 || position === end)
        const touched = extents.filter((extent) => extent.offset < position && offset < extent.offset + extent.length)
        if (zero) assert.ok(touched.every((extent) => extent.zero))
      }
      assert.equal(position, end)
    }),
    { numRuns: 200, interruptAfterTimeLimit: 8000 },
  )
})
