import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Budget } from '../../src/core/budget.ts'
import { checkExtents, collect } from '../storage/contract.ts'
import { seed, seeded } from '../support/random.ts'
import { archiveOf, type Making, opened, patchyImage } from './made-archive.ts'

const limits = { timeout: 60_000 }

const IMAGES = [patchyImage(9_000_000), patchyImage(4_321), patchyImage(3_000_000)]

const KINDS: Record<string, Making> = {
  plain: {},
  'plain, out of order': { random: seeded(1) },
  'plain, out of order, as others make it': { random: seeded(2), index: false, checksums: false },
  zstd: { method: 'zstd' },
  'zstd, out of order': { method: 'zstd', random: seeded(3) },
  'zstd, in frames smaller than extents, out of order': { method: 'zstd', frame: 1 << 16, random: seeded(4) },
  'zstd, without index': { method: 'zstd', random: seeded(5), index: false, checksums: false },
  'LZ4, out of order': { method: 'lz4', random: seeded(6), frame: 300_000 },
  'gzip, out of order': { method: 'gzip', random: seeded(7), frame: 1 << 20 },
}

describe(`any range of any drive is what was archived (seed ${seed})`, () => {
  for (const [name, making] of Object.entries(KINDS)) {
    test(name, limits, async (t) => {
      const { archive, warnings } = await opened(t, await archiveOf(IMAGES, making), { budget: new Budget(24 << 20) })
      const drives = IMAGES.map((_, index) => archive.drive(`drive-scsi${index}`))
      const range = fc.record({
        drive: fc.nat(2),
        from: fc.double({ min: 0, max: 1, noNaN: true }),
        length: fc.nat(200_000),
      })
      const ranges = fc.array(range, { minLength: 1, maxLength: 12 })
      const readAll = async (wanted: { drive: number; from: number; length: number }[]) => {
        const reads = wanted.map(async ({ drive, from, length }) => {
          const image = IMAGES[drive]
          const offset = Math.floor(from * image.length)
          const buffer = Buffer.alloc(Math.min(length, image.length - offset), 0xee)
          await drives[drive].read(buffer, offset)
          assert.ok(
            buffer.equals(image.subarray(offset, offset + buffer.length)),
            `${drive}: ${offset}+${buffer.length}`,
          )
        })
        await Promise.all(reads)
      }
      await fc.assert(fc.asyncProperty(ranges, readAll), { numRuns: 60, seed })
      for (const [index, image] of IMAGES.entries()) {
        checkExtents(await collect(drives[index].map(0, image.length)), image, 0, image.length)
        let at = 0
        for await (const chunk of drives[index].chunks(0, image.length)) {
          for (const bytes of chunk.buffers) {
            assert.equal(Buffer.compare(bytes, image.subarray(at, at + bytes.length)), 0, `${index}: ${at}`)
            at += bytes.length
          }
          chunk.release()
        }
        assert.equal(at, image.length)
      }
      assert.deepEqual(warnings, [])
    })
  }
})
