import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Findings } from '../../src/core/findings.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type Chunk, type ClusterItem, type Item, Manifest, Run } from '../../src/core/items.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroExpander } from '../../src/stages/zero-expander.ts'
import { bytesThrough, manifestOf, through } from '../support/flow.ts'

const parent = { uuid: Buffer.alloc(16, 3), end: Buffer.alloc(16, 4), ctime: 1 }
const manifest = new Manifest({
  ...manifestOf(100 * CLUSTER_SIZE, CLUSTER_SIZE),
  record: { parent, guest: null, full: null },
})
const data = () => new Run(1, 7, 1, [Buffer.alloc(CLUSTER_SIZE, 5)])
const zero = () => new Run(1, 90, 2, [])

async function framed(items: Item[], options = {}): Promise<Buffer> {
  const chunks = await bytesThrough('clusters', items, [vmaFramer(options)])
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

const bytesOf = async (archive: Buffer) => {
  const { Chunk } = await import('../../src/core/items.ts')
  return [new Chunk([archive])] as Chunk[]
}

describe('an incremental archive', () => {
  test('has only some clusters, and comes back as it was', async () => {
    const archive = await framed([manifest, data(), zero()])
    const items = await through<ClusterItem>('bytes', await bytesOf(archive), [vmaDeframer()])
    const runs = items.filter((item): item is Run => item.kind === 'run')
    assert.deepEqual(
      runs.map(({ drive, first, count, isZero }) => [drive, first, count, isZero]),
      [
        [1, 7, 1, false],
        [1, 90, 2, true],
      ],
    )
  })

  test('may have no clusters at all', async () => {
    const archive = await framed([manifest])
    assert.equal((await through('bytes', await bytesOf(archive), [vmaDeframer()])).length, 1)
  })

  test('is refused without its closing extent: it may have lost clusters', async () => {
    const archive = await framed([manifest, data(), zero()])
    for (const cut of [512, 1024, 1536]) {
      const findings = new Findings()
      await through('bytes', await bytesOf(archive.subarray(0, -cut)), [vmaDeframer({ findings })])
      assert.equal(findings.damage[0]?.error.code, 'INCOMPLETE', `${cut} bytes less`)
    }
  })

  test('has no cluster twice', async () => {
    await assert.rejects(framed([manifest, data(), data()]), { code: 'STAGE', message: /twice/ })
  })

  test('is not written without checksums or an index', async () => {
    await assert.rejects(framed([manifest, data()], { checksums: false }), { code: 'USAGE' })
    await assert.rejects(framed([manifest, data()], { index: false }), { code: 'USAGE' })
  })

  test('is not taken for a whole drive', async () => {
    await assert.rejects(through('clusters', [manifest, data()], [zeroExpander()]), {
      code: 'DAMAGED',
      message: /incremental: it has only what changed since its parent, 03030303-/,
    })
  })
})
