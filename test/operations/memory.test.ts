import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { LEAST_BUDGET } from '../../src/core/budget.ts'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'

const MIB = 1 << 20
const SIZES = [LEAST_BUDGET / MIB, 24, 32, 64]
const THREADS = [1, 2, 8]

/** A stage that waits for memory which another holds waits without end: the run is given up, and the test fails. */
const patience = () => ({ signal: AbortSignal.timeout(200_000) })

describe('within any budget that is allowed', () => {
  const dir = tmpDir({ after })
  const disk = join(dir, 'disk.raw')

  // More than fits into the smallest budget, and extents that the compressors cannot shrink.
  before(() => writeImage(disk, 24 * MIB + 512, { noise: 12 * MIB, text: 4 * MIB }))

  for (const compress of [
    'none',
    'zstd',
    'zstd,frame=16KiB',
    'zstd,frame=100KiB',
    'lz4',
    'lz4,frame=16KiB',
    'gzip:1',
    'gzip:1,frame=16KiB',
  ]) {
    test(`a backup with ${compress} comes back, whatever the threads`, { timeout: 300_000 }, async () => {
      const content = readFileSync(disk)
      for (const size of SIZES) {
        for (const threads of THREADS) {
          const how = { buffer: size * MIB, threads }
          const to = join(dir, `${compress}.vma`)
          const made = await backup({ drives: { d: disk }, to, force: true, compress, ...how, ...patience() })
          const checked = await verify({ from: to, ...how, ...patience() })
          const back = await restore({ from: to, drives: { d: `${to}.raw` }, force: true, ...how, ...patience() })
          const name = `${size} MiB, ${threads} threads`
          assert.ok(readFileSync(`${to}.raw`).equals(content), name)
          for (const { leaked, highWater } of [made, checked, back]) {
            assert.equal(leaked, 0, name)
            assert.ok(highWater <= how.buffer, `${name}: ${highWater}`)
          }
        }
      }
    })
  }
})

test('less than that is refused at once, by a line that says how much is needed', { timeout: 120_000 }, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  writeImage(disk, 8 * MIB, { noise: 8 * MIB })
  const from = join(dir, 'a.vma')
  await backup({ drives: { d: disk }, to: from })
  for (const size of [1, 8, 11, 12, 13, 15]) {
    await assert.rejects(verify({ from, buffer: size * MIB, threads: 1, ...patience() }), (error: any) => {
      assert.equal(error.code, 'USAGE', error.line)
      assert.match(error.line, /needs .* of memory.*; allow a larger --buffer, at least [\d.]+ [KM]iB/)
      return true
    })
  }
})
