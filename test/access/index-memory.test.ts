import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildIndex } from '../../src/access/index-builder.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Manifest } from '../../src/core/items.ts'
import { VarintWriter } from '../../src/formats/varint.ts'

const EXTENTS = 100_000
const RUNS = 59
const SIZE = EXTENTS * RUNS * 2 * CLUSTER_SIZE
const manifest = new Manifest({
  uuid: Buffer.alloc(16),
  ctime: 0,
  configs: [],
  drives: [{ id: 1, name: 'd', size: SIZE }],
})

/** Every second cluster of the drive, in the order that `step` makes; each a run of its own. */
function table(step: 1 | -1): Buffer {
  const entries = new VarintWriter()
  const last = EXTENTS * RUNS - 1
  let expected = 0
  for (let n = 0; n <= last; n++) {
    if (n % RUNS === 0) entries.add(0, RUNS)
    const cluster = 2 * (step === 1 ? n : last - n)
    entries.add(1)
    entries.addSigned(cluster - expected)
    entries.add(0)
    expected = cluster + 1
  }
  entries.add(1, 1, EXTENTS * RUNS, 0)
  return entries.bytes
}

for (const step of [1, -1] as const) {
  test(`an index of nothing but gaps takes memory for its runs alone, in order ${step}`, {
    timeout: 60_000,
  }, async () => {
    const bytes = table(step)
    globalThis.gc?.()
    const before = process.memoryUsage.rss()
    const wanted = { table: bytes, extents: EXTENTS, headerSize: 12800 }
    const index = await buildIndex(manifest, wanted, { gaps: true })
    const growth = process.memoryUsage.rss() - before
    // 5.9 million runs and as many gaps, of 8 bytes; at most 17 bytes a run while they are sorted.
    assert.ok(growth < 330 << 20, `the process has grown by ${growth >> 20} MiB`)
    const [there, gap] = index.runs(1, 1_000_000, 1_000_002)
    const extent = Math.floor((step === 1 ? 500_000 : EXTENTS * RUNS - 1 - 500_000) / RUNS)
    assert.deepEqual(there, { first: 1_000_000, end: 1_000_001, extent, stored: false })
    assert.deepEqual(gap, { first: 1_000_001, end: 1_000_002, extent: -1, stored: true })
  })
}

test('the making of an index ends when it is to', { timeout: 60_000 }, async () => {
  const wanted = { table: table(1), extents: EXTENTS, headerSize: 12800 }
  await assert.rejects(buildIndex(manifest, wanted, { gaps: true, signal: AbortSignal.abort() }), {
    name: 'AbortError',
  })
})
