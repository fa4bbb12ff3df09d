import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget } from '../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type Chunk, Run } from '../../src/core/items.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { manifestOf, through } from '../support/flow.ts'

const MiB = 1 << 20

test('an extent does not wait to be full for memory that it holds itself', { timeout: 60_000 }, async () => {
  const budget = new Budget(64 * MiB)
  // Of each piece that was read only one cluster is left to be archived.
  const runs = await Promise.all(
    Array.from({ length: 20 }, async (_, cluster) => {
      const slab = await budget.take(MiB)
      return new Run(1, cluster, 1, [slab.buffer.fill(1).subarray(0, CLUSTER_SIZE)], null, [slab])
    }),
  )
  const manifest = manifestOf(20 * CLUSTER_SIZE)
  const [, ...extents] = await through<Chunk>(
    'clusters',
    [manifest, ...runs],
    [vmaFramer({ checksums: false, index: false })],
    { buffer: 16 * MiB },
  )
  assert.deepEqual(
    extents.map(({ leases }) => leases.length),
    [5, 5, 5, 5],
  )
  for (const extent of extents) extent.release()
  assert.equal(budget.used, 0)
})

test('an extent is as full as possible if it holds only the memory of its own clusters', {
  timeout: 60_000,
}, async () => {
  const budget = new Budget(64 * MiB)
  const slabs = await Promise.all(Array.from({ length: 29 }, () => budget.take(4 * CLUSTER_SIZE)))
  const runs = slabs.map((slab, index) => new Run(1, index * 4, 4, [slab.buffer.fill(1)], null, [slab]))
  const manifest = manifestOf(116 * CLUSTER_SIZE)
  const [, ...extents] = await through<Chunk>(
    'clusters',
    [manifest, ...runs],
    [vmaFramer({ checksums: false, index: false })],
    { buffer: 64 * MiB },
  )
  assert.deepEqual(
    extents.map(({ byteLength }) => byteLength),
    [512 + 58 * CLUSTER_SIZE, 512 + 58 * CLUSTER_SIZE],
  )
  for (const extent of extents) extent.release()
  assert.equal(budget.used, 0)
})
