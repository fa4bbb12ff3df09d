/** Indexes of drives of which many extents are alike: they are added at once, and must be as if each had been added. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { buildIndex } from '../../src/access/index-builder.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Manifest } from '../../src/core/items.ts'
import { VarintWriter } from '../../src/formats/varint.ts'
import { TableEncoder } from '../../src/formats/vma/table.ts'

const HEADER = 12800
const limits = { timeout: 120_000 }

/** `times` extents of `count` clusters each that follow each other in a drive, with so many blocks in each cluster. */
interface Stretch {
  drive: number
  count: number
  blocks: number
  times: number
}

interface Placed {
  first: number
  end: number
  extent: number
  stored: boolean
}

/** The table of the stretches, and what an index of it must say. */
function archived(stretches: readonly Stretch[]) {
  const drives = [1, 2]
  const table = new TableEncoder(drives)
  const next = new Map(drives.map((drive) => [drive, 0]))
  const runs = new Map(drives.map((drive): [number, Placed[]] => [drive, []]))
  const [offsets, counts] = [[HEADER], [] as number[]]
  for (const { drive, count, blocks, times } of stretches) {
    for (let time = 0; time < times; time++) {
      const first = next.get(drive)!
      for (let at = 0; at < count; at++) table.add(drive, first + at, 2 ** blocks - 1)
      table.endExtent()
      next.set(drive, first + count)
      runs.get(drive)!.push({ first, end: first + count, extent: counts.length, stored: blocks > 0 })
      counts.push(count)
      offsets.push(offsets.at(-1)! + 512 + count * blocks * 4096)
    }
  }
  const sizes = drives.map((id) => ({ id, name: `drive${id}`, size: next.get(id)! * CLUSTER_SIZE }))
  const manifest = new Manifest({ uuid: Buffer.alloc(16), ctime: 0, configs: [], drives: sizes })
  return { manifest, table: table.finish(), extents: counts.length, offsets, counts, runs }
}

async function assertIndex(stretches: readonly Stretch[]): Promise<void> {
  const { manifest, table, extents, offsets, counts, runs } = archived(stretches)
  const index = await buildIndex(manifest, { table, extents, headerSize: HEADER }, { end: offsets.at(-1)! })
  assert.deepEqual([...index.offsets], offsets)
  assert.deepEqual([...index.counts], counts)
  for (const { id, size } of manifest.drives)
    if (size > 0) assert.deepEqual([...index.runs(id, 0, size / CLUSTER_SIZE)], runs.get(id))
}

test('extents that are alike are in the index one by one', limits, async () => {
  const stretch = fc.record({
    drive: fc.constantFrom(1, 1, 2),
    count: fc.constantFrom(59, 58, 1, 7),
    blocks: fc.constantFrom(0, 0, 16, 16, 3),
    times: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 60, max: 300 })),
  })
  await fc.assert(fc.asyncProperty(fc.array(stretch, { minLength: 1, maxLength: 12 }), assertIndex), { numRuns: 60 })
})

test('also if they are more than are added at once, and fill several pieces of memory', limits, async () => {
  await assertIndex([
    { drive: 1, count: 59, blocks: 0, times: 100_000 },
    { drive: 2, count: 58, blocks: 16, times: 70_000 },
    { drive: 1, count: 59, blocks: 0, times: 33_000 },
  ])
})

test('too many of them are damage, and never read or kept past the end of their drive', limits, async () => {
  const { manifest, table, extents } = archived([{ drive: 1, count: 59, blocks: 0, times: 1000 }])
  const smaller = (size: number) => new Manifest({ ...manifest, drives: [{ ...manifest.drives[0], size }] })
  const build = (size: number, most = extents) =>
    buildIndex(smaller(size), { table, extents: most, headerSize: HEADER }, { gaps: true })
  for (const clusters of [58, 59, 59 * 500, 59 * 1000 - 1])
    await assert.rejects(build(clusters * CLUSTER_SIZE), { code: 'DAMAGED', message: /past the end of drive 1/ })
  // Fewer extents than entries: what follows is read as the totals.
  await assert.rejects(build(59_000 * CLUSTER_SIZE, 999), { code: 'DAMAGED' })
  await assert.rejects(build(59_000 * CLUSTER_SIZE, 1001), { code: 'DAMAGED' })
})

test('a table of too many extents is refused before there is memory for them', limits, async () => {
  const entries = new VarintWriter()
  for (let n = 0; n < 21_000_000; n++) entries.add(0, 1, 1, 0, 0)
  entries.add(1, 1, 21_000_000, 0)
  const drives = [{ id: 1, name: 'd', size: 21_000_000 * CLUSTER_SIZE }]
  const manifest = new Manifest({ uuid: Buffer.alloc(16), ctime: 0, configs: [], drives })
  const wanted = { table: entries.bytes, extents: 21_000_000, headerSize: HEADER }
  await assert.rejects(buildIndex(manifest, wanted), { code: 'DAMAGED', message: /more than 256\.0 MiB of memory/ })
})
