import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ClusterSet } from '../../../src/core/cluster-set.ts'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import type { ClusterItem, Run } from '../../../src/core/items.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import { clusterSource } from '../../../src/stages/cluster-source.ts'
import type { DriveReader } from '../../../src/storage/drive.ts'
import { collect } from '../../support/flow.ts'

/** A drive of this many clusters, of which the odd ones are zero, that counts what is read. */
class Drive implements DriveReader {
  readonly size: number
  read_ = 0
  asked = 0

  constructor(clusters: number) {
    this.size = clusters * CLUSTER_SIZE
  }

  async *map(offset: number, length: number) {
    this.asked += length
    for (let at = offset; at < offset + length; at += CLUSTER_SIZE)
      yield { offset: at, length: CLUSTER_SIZE, zero: (at / CLUSTER_SIZE) % 2 === 1 }
  }

  async read(buffer: Uint8Array) {
    this.read_ += buffer.byteLength
    buffer.fill(7)
  }

  async close() {}
}

async function scanned(drive: DriveReader, changed?: ClusterSet) {
  const items: ClusterItem[] = []
  const source = clusterSource({ drives: { a: drive }, ...(changed && { changed: { a: changed } }) })
  await definePipeline([source, collect('clusters', items)]).run()
  const runs = items.filter((item): item is Run => item.kind === 'run')
  return runs.flatMap(({ first, count, isZero }) =>
    Array.from({ length: count }, (_, at) => `${first + at}${isZero ? 'z' : ''}`),
  )
}

describe('what may have changed on a drive', () => {
  test('is all that is read; other clusters are left out', async () => {
    const changed = new ClusterSet(5000)
    for (const cluster of [0, 1, 100, 4000]) changed.include(cluster, 1)
    const drive = new Drive(5000)
    assert.deepEqual(await scanned(drive, changed), ['0', '1z', '100', '4000'])
    assert.equal(drive.read_, 3 * CLUSTER_SIZE)
    assert.ok(drive.asked < 200 * CLUSTER_SIZE, 'holes are looked for only near what changed')
  })

  test('includes what is behind the end of the set', async () => {
    const changed = new ClusterSet(10)
    changed.include(3, 1)
    assert.deepEqual(await scanned(new Drive(12), changed), ['3z', '10', '11z'])
  })

  test('may be nothing, or everything', async () => {
    assert.deepEqual(await scanned(new Drive(4), new ClusterSet(4)), [])
    const all = new ClusterSet(4)
    all.include(0, 4)
    assert.deepEqual(await scanned(new Drive(4), all), ['0', '1z', '2', '3z'])
  })

  test('is asked of a drive that knows it, once, when the scan begins', async () => {
    let asked = 0
    const changed = new ClusterSet(4)
    changed.include(2, 1)
    const drive = Object.assign(new Drive(4), {
      changed() {
        asked++
        return changed
      },
    })
    assert.deepEqual(await scanned(drive), ['2'])
    assert.equal(asked, 1)
    assert.deepEqual(await scanned(Object.assign(new Drive(2), { changed: () => null })), ['0', '1z'])
  })
})
