import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { census } from '../../src/stages/census.ts'
import { collect, itemsOf, manifestOf } from '../support/flow.ts'

test('it tells how much of each drive is data', async () => {
  const data = Buffer.alloc(2 * CLUSTER_SIZE, 1)
  const items = [
    manifestOf(10 * CLUSTER_SIZE, CLUSTER_SIZE),
    new Run(1, 0, 2, [data]),
    new Run(1, 2, 8, []),
    new Run(2, 0, 1, []),
  ]
  const run = definePipeline([itemsOf('clusters', items), census(), collect('clusters', [])] as never).run()
  assert.deepEqual((await run).conclusions, [
    'drive drive-scsi0: 640.0 KiB, 128.0 KiB of data in 10 clusters',
    'drive drive-scsi1: 64.0 KiB, 0 B of data in 1 clusters',
  ])
})
