import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { type ClusterItem, Manifest, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { changeFilter } from '../../src/stages/change-filter.ts'
import { clusterSource } from '../../src/stages/cluster-source.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import type { DriveReader } from '../../src/storage/drive.ts'
import { collect, manifestOf, through } from '../support/flow.ts'
import { memoryParent, SPARSE } from '../support/parents.ts'

const fill = (clusters: number, value: number) => Buffer.alloc(clusters * CLUSTER_SIZE, value)
const filter = (parent: Awaited<ReturnType<typeof memoryParent>>, more = {}) =>
  changeFilter({ since: 'parent', against: parent, ...more })

function runsOf(items: ClusterItem[]): string[] {
  return items.flatMap((item) =>
    item.kind === 'manifest'
      ? []
      : Array.from({ length: item.count }, (_, at) => {
          const mask = item.isZero ? 0 : (item.masks?.[at] ?? 0xffff)
          return `${item.drive}:${item.first + at}${mask === 0 ? 'z' : ''}`
        }),
  )
}

/** The changed clusters between two images of one drive. */
async function changes(before: Buffer, after: Buffer): Promise<string[]> {
  const parent = await memoryParent({ 'drive-scsi0': before })
  const run = new Run(1, 0, clusterCount(after.length), [after])
  return runsOf(await through('clusters', [manifestOf(after.length), run], [zeroElider(), filter(parent)]))
}

describe('change-filter', () => {
  test('drops what is unchanged, and keeps what changed, with its own data', async () => {
    const before = fill(8, 1)
    const after = Buffer.from(before)
    after[3 * CLUSTER_SIZE + 5] = 9
    after[6 * CLUSTER_SIZE] = 9
    const parent = await memoryParent({ 'drive-scsi0': before })
    const run = new Run(1, 0, 8, [after])
    const items = await through<ClusterItem>(
      'clusters',
      [manifestOf(after.length), run],
      [zeroElider(), filter(parent)],
    )
    assert.deepEqual(runsOf(items), ['1:3', '1:6'])
    const [manifest, third] = items as [Manifest, Run]
    assert.deepEqual(manifest.record?.parent, parent.record)
    assert.ok(Buffer.concat(third.blocks).equals(after.subarray(3 * CLUSTER_SIZE, 4 * CLUSTER_SIZE)))
    assert.equal(third.hashes?.byteLength, 16)
  })

  test('keeps clusters that became zero, as zero, and drops those that were', async () => {
    const before = Buffer.concat([fill(2, 1), fill(2, 0)])
    assert.deepEqual(await changes(before, fill(4, 0)), ['1:0z', '1:1z'])
    assert.deepEqual(await changes(fill(4, 0), before), ['1:0', '1:1'])
    assert.deepEqual(await changes(before, before), [])
  })

  test('tells clusters with the same blocks in other places', async () => {
    const before = Buffer.concat([fill(1, 0)])
    before.fill(5, 0, BLOCK_SIZE)
    const after = Buffer.concat([fill(1, 0)])
    after.fill(5, BLOCK_SIZE, 2 * BLOCK_SIZE)
    assert.deepEqual(await changes(before, after), ['1:0'])
  })

  test('does not need a zero-elider before it', async () => {
    const image = Buffer.concat([fill(1, 1), fill(1, 0), fill(1, 3)])
    image.fill(0, 0, BLOCK_SIZE)
    const parent = await memoryParent({ 'drive-scsi0': image })
    const items = [manifestOf(image.length), new Run(1, 0, 3, [image])]
    assert.deepEqual(runsOf(await through('clusters', items, [filter(parent)])), [])
  })

  test('keeps all that is behind the end of a drive that grew, be it zero', async () => {
    const before = fill(3, 1)
    assert.deepEqual(await changes(before, Buffer.concat([before, fill(1, 0), fill(1, 2)])), ['1:3z', '1:4'])
    assert.deepEqual(await changes(fill(5, 1), before), [])
  })

  test('compares a last cluster that is not whole', async () => {
    const before = fill(2, 1).subarray(0, CLUSTER_SIZE + BLOCK_SIZE)
    assert.deepEqual(await changes(before, before), [])
    assert.deepEqual(await changes(before, fill(2, 1)), ['1:1'])
  })

  test('stores drives whole that the parent does not have, and vmstate always, and says so in the record', async () => {
    const parent = await memoryParent({ 'drive-scsi0': fill(1, 1), vmstate: fill(1, 1) })
    const drives = ['drive-scsi0', 'drive-scsi1', 'vmstate'].map((name, at) => ({
      id: at + 1,
      name,
      size: CLUSTER_SIZE,
    }))
    const items = [
      new Manifest({ ...manifestOf(), drives }),
      ...drives.map(({ id }) => new Run(id, 0, 1, [fill(1, 1)])),
    ]
    const out = await through<ClusterItem>('clusters', items, [filter(parent, { guest: 'vm1' })])
    assert.deepEqual(runsOf(out), ['2:0', '3:0'])
    const { record } = out[0] as Manifest
    assert.deepEqual([record?.guest, record?.whole], ['vm1', { 'drive-scsi1': 'the parent does not have it' }])
  })

  test('keeps what the parent cannot tell of', async () => {
    const parent = await memoryParent({ 'drive-scsi0': fill(4, 1) }, { unknown: new Set([2]) })
    const items = [manifestOf(4 * CLUSTER_SIZE), new Run(1, 0, 4, [fill(4, 1)])]
    assert.deepEqual(runsOf(await through('clusters', items, [filter(parent)])), ['1:2'])
    const zeroes = [manifestOf(4 * CLUSTER_SIZE), new Run(1, 2, 1, [])]
    assert.deepEqual(runsOf(await through('clusters', zeroes, [filter(parent)])), ['1:2z'])
  })

  test('makes a full archive that says why, if there is no parent', async () => {
    const items = [manifestOf(CLUSTER_SIZE), new Run(1, 0, 1, [fill(1, 1)])]
    const stage = changeFilter({ since: 'auto', against: 'there is none', guest: 'vm1' })
    const out = await through<ClusterItem>('clusters', items, [stage])
    assert.deepEqual((out[0] as Manifest).record, { parent: null, guest: 'vm1', full: 'there is none' })
    assert.deepEqual(runsOf(out), ['1:0'])
  })

  test('compares 16 TiB in little memory', { timeout: 120_000 }, async () => {
    const drive: DriveReader = {
      size: SPARSE.size,
      map: SPARSE.map,
      async read(buffer, offset) {
        buffer.fill(1)
        if (offset === 0) buffer[0] = 9
      },
      async close() {},
    }
    let clusters = 0
    let most = 0
    const write = (item: ClusterItem) => {
      if (item.kind === 'run') clusters += item.count
      most = Math.max(most, process.memoryUsage().rss)
      item.release()
    }
    const before = process.memoryUsage().rss
    const last = collect('clusters', [], { write: write as never })
    const stages = [clusterSource({ drives: { a: drive } }), zeroElider(), filter(await SPARSE.parent('a')), last]
    const { counters } = await definePipeline(stages as never).run()
    assert.equal(clusters, 1)
    assert.equal(counters.get('unchanged'), SPARSE.size - CLUSTER_SIZE)
    assert.ok(most - before < 256 << 20, `${(most - before) >> 20} MiB`)
  })
})
