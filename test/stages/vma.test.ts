import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import type { VmapipeError } from '../../src/core/errors.ts'
import { Findings } from '../../src/core/findings.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Chunk, type ClusterItem, type Item, type Manifest, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { clusterHasher } from '../../src/formats/vma/cluster-hash.ts'
import { verifier } from '../../src/stages/verifier.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { itemsOf, manifestOf, through } from '../support/flow.ts'
import { golden, goldenBytes, needsGolden } from '../support/golden.ts'

const timeout = 240_000

/** As the real tool would. */
function frame(items: Item[], slots = 58): Promise<Buffer> {
  return framed(items, { slots, checksums: false, index: false })
}

/** With checksums and an end; of so few slots that there are several extents. */
function frameChecked(items: Item[], options: { index?: boolean; hashes?: boolean } = {}): Promise<Buffer> {
  return framed(items, { slots: 2, ...options })
}

async function framed(items: Item[], options: Parameters<typeof vmaFramer>[0]): Promise<Buffer> {
  const chunks = await through<Chunk>('clusters', items, [vmaFramer(options)])
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

async function deframe(archive: Buffer, piece = archive.length): Promise<ClusterItem[]> {
  const chunks = []
  for (let at = 0; at < archive.length; at += piece) chunks.push(new Chunk([archive.subarray(at, at + piece)]))
  return through<ClusterItem>('bytes', chunks, [vmaDeframer()])
}

/** Two drives: 3 clusters and a bit, with data, zero blocks and zero clusters; and one of 100 bytes. */
function sample(): Item[] {
  const data = Buffer.alloc(2 * CLUSTER_SIZE)
  data.fill('a', 0, 4096)
  data.fill('b', 4096 * 20, 4096 * 21)
  const tail = Buffer.alloc(4096)
  tail.write('tail')
  const manifest = manifestOf(3 * CLUSTER_SIZE + 100, 100)
  return [manifest, new Run(1, 3, 1, [tail]), new Run(1, 0, 2, [data]), new Run(2, 0, 1, [tail]), new Run(1, 2, 1, [])]
}

describe('framer and deframer', { timeout }, () => {
  test('an extent is these bytes', async () => {
    const block = Buffer.alloc(4096, 0x5a)
    const archive = await frame([manifestOf(4096 * 3), new Run(1, 0, 1, [block], Uint16Array.of(0b100))])
    const extent = archive.subarray(12800)
    assert.equal(extent.length, 512 + 4096)
    assert.equal(extent.toString('hex', 0, 24), `564d4145${'0000'}0001${'07'.repeat(16)}`)
    assert.equal(extent.toString('hex', 40, 56), '0004000100000000' + '0000000000000000')
    const blank = Buffer.from(extent.subarray(0, 512)).fill(0, 24, 40)
    assert.equal(extent.toString('hex', 24, 40), hash('md5', blank))
    assert.ok(extent.subarray(512).equals(block))
  })

  for (const piece of [61, 511, 4096, 100_000]) {
    test(`what was framed comes back, read in pieces of ${piece} bytes`, async () => {
      const archive = await frame(sample())
      const again = await frame(await deframe(archive, piece))
      assert.ok(again.equals(archive))
    })
  }

  for (const slots of [1, 2, 58, 59]) {
    test(`extents of ${slots} slots come back too`, async () => {
      const small = await frame(sample(), slots)
      const again = await frame(await deframe(small))
      assert.ok(again.equals(await frame(sample())))
    })
  }

  test('zeroes found by the elider are not stored', async () => {
    const chunks = await through<Chunk>('clusters', sample(), [
      zeroElider(),
      vmaFramer({ checksums: false, index: false }),
    ])
    // Header, one extent header, and the four blocks that hold something.
    assert.equal(
      chunks.reduce((sum, { byteLength }) => sum + byteLength, 0),
      12800 + 512 + 4 * 4096,
    )
  })

  test('an archive without drives has one empty extent', async () => {
    const archive = await frame([manifestOf()])
    assert.equal(archive.length, 12800 + 512)
    assert.equal((await deframe(archive.subarray(0, 12800))).length, 1)
  })

  for (const [what, items] of [
    ['a cluster that comes twice', [...sample(), new Run(1, 2, 1, [])]],
    ['a cluster past the end', [manifestOf(100), new Run(1, 1, 1, [])]],
    ['a drive that nobody announced', [manifestOf(100), new Run(2, 0, 1, [])]],
    ['a missing cluster', sample().slice(0, -1)],
    ['clusters before the manifest', sample().slice(1)],
    ['nothing at all', []],
  ] as [string, Item[]][]) {
    test(`the framer does not make an archive out of ${what}`, async () => {
      await assert.rejects(frame(items), { code: 'STAGE', stage: 'vma-framer' })
    })
  }
})

describe('the deframer refuses', { timeout }, () => {
  test('an archive that is cut anywhere', async () => {
    const archive = await frame(sample(), 2)
    const cuts = [0, 1, 59, 60, 12799, 12800, 12801, 13311, 13312, archive.length - 1]
    for (let at = 12800; at < archive.length; at += 999) cuts.push(at)
    for (const cut of cuts)
      await assert.rejects(deframe(archive.subarray(0, cut)), { code: 'INCOMPLETE' }, `cut at ${cut}`)
  })

  test('an archive of which any byte of a header is changed', async () => {
    const archive = await frame(sample(), 2)
    const extents = headersIn(archive)
    const places = extents.flatMap((at) => Array.from({ length: 512 }, (_, index) => at + index))
    for (const at of places.filter((_, index) => index % 7 === 0)) {
      const bad = Buffer.from(archive)
      bad[at] ^= 1
      await assert.rejects(deframe(bad), (e: VmapipeError) => ['DAMAGED', 'INCOMPLETE'].includes(e.code), `byte ${at}`)
    }
  })

  /** Changes the first extent, with a checksum that is right again. */
  async function forged(change: (extent: Buffer) => void): Promise<Buffer> {
    const archive = await frame(sample())
    const extent = archive.subarray(12800, 13312)
    change(extent)
    extent.fill(0, 24, 40)
    extent.set(hash('md5', extent, 'buffer'), 24)
    return archive
  }

  for (const [what, change, message] of [
    ['a cluster far past the end', (e: Buffer) => e.writeUInt32BE(0xffffffff, 44), /past the end/],
    ['an undeclared drive', (e: Buffer) => e.writeUInt8(9, 43), /dev_id 9/],
    ['a cluster twice', (e: Buffer) => e.writeUInt32BE(0, 44), /comes twice/],
    ['a block count that lies', (e: Buffer) => e.writeUInt16BE(3, 6), /claims 3 blocks/],
    ['a foreign uuid', (e: Buffer) => e.writeUInt8(1, 8), /another archive/],
    ['reserved bytes', (e: Buffer) => e.writeUInt8(1, 4), /reserved/],
  ] as [string, (extent: Buffer) => void, RegExp][]) {
    test(`an extent with ${what}, naming its offset`, async () => {
      const archive = await forged(change)
      await assert.rejects(deframe(archive), (error: VmapipeError) => {
        assert.equal(error.code, 'DAMAGED')
        assert.equal(error.where.offset, 12800)
        assert.match(error.message, message)
        return true
      })
    })
  }

  test('trailing garbage', async () => {
    const archive = await frame(sample())
    for (const garbage of [Buffer.from('x'), Buffer.alloc(512), archive]) {
      const at = { code: 'DAMAGED', message: /goes on after its last extent/, where: { offset: archive.length } }
      await assert.rejects(deframe(Buffer.concat([archive, garbage])), at)
    }
    await assert.rejects(deframe(Buffer.concat([archive, Buffer.from('VMA')])), { code: 'INCOMPLETE' })
  })
})

test('slots of dev_id 0 are passed over, wherever they are', { timeout }, async () => {
  const archive = await frame(sample())
  const extra = Buffer.alloc(512)
  extra.write('VMAE')
  extra.fill(7, 8, 24)
  extra.write('notes', 40)
  extra.writeUInt8(0, 43)
  extra.set(hash('md5', extra, 'buffer'), 24)
  const mixed = Buffer.concat([archive.subarray(0, 12800), extra, archive.subarray(12800), extra])
  assert.ok((await frame(await deframe(mixed))).equals(archive))
})

describe('an archive with checksums', { timeout }, () => {
  for (const index of [true, false]) {
    test(`${index ? 'with' : 'without'} an index comes back, and readers that know neither read the same`, async () => {
      const archive = await frameChecked(sample(), { index })
      assert.ok((await frameChecked(await deframe(archive, 999), { index })).equals(archive))
      const plain = await frame(sample(), 2)
      const extents = headersIn(archive)
      const known = headersIn(plain)
      // A hash record, a page and the closing extent.
      assert.equal(extents.length, known.length + 3)
      for (const [n, at] of known.entries()) {
        // But for the slot of the checksum, and the header's own.
        assert.equal(extents[n], at)
        assert.ok(archive.subarray(at, at + 24).equals(plain.subarray(at, at + 24)))
        assert.ok(archive.subarray(at + 40, at + 504).equals(plain.subarray(at + 40, at + 504)))
      }
    })
  }

  test('is refused with any byte changed', async () => {
    const archive = await frameChecked(sample())
    for (let at = 0; at < archive.length; at += 13) {
      archive[at] ^= 0x10
      await assert.rejects(
        deframe(archive),
        (e: VmapipeError) => ['DAMAGED', 'INCOMPLETE'].includes(e.code),
        `byte ${at}`,
      )
      archive[at] ^= 0x10
    }
    await deframe(archive)
  })

  test('is refused when it is cut anywhere, behind its last cluster too; what follows it does not matter', async () => {
    const archive = await frameChecked(sample())
    for (const cut of [...headersIn(archive).slice(1), archive.length - 1])
      await assert.rejects(deframe(archive.subarray(0, cut)), { code: 'INCOMPLETE' }, `cut at ${cut}`)
    const last = archive.subarray(-512)
    assert.deepEqual(await deframe(Buffer.concat([archive, last])), await deframe(archive))
  })

  test('says where data is damaged', async () => {
    const archive = await frameChecked(sample())
    const [, second] = headersIn(archive)
    archive[second + 512 + 5000] ^= 1
    await assert.rejects(deframe(archive), {
      code: 'DAMAGED',
      message: /checksum of the data/,
      where: { offset: second },
    })
  })

  test('of an unknown algorithm is accepted, and its data is not checked', async () => {
    const archive = await frameChecked(sample())
    const extent = archive.subarray(12800, 13312)
    extent[40 + 58 * 8 + 2] = 99
    extent.fill(0, 24, 40)
    extent.set(hash('md5', extent, 'buffer'), 24)
    archive[13312] ^= 1
    assert.ok((await deframe(archive)).length > 1)
  })

  test('has the hash of every stored cluster, and gives it on', async () => {
    const runs = (await deframe(await frameChecked(sample()))).slice(1) as Run[]
    assert.ok(runs.some(({ hashes }) => hashes !== null))
    const hasher = await clusterHasher()
    for (const { masks, blocks, hashes, isZero } of runs)
      assert.deepEqual(hashes, isZero ? null : hasher.hashes(masks!, blocks))
  })

  test('with a wrong hash in a record is damaged there, and its data is not', async () => {
    const archive = await frameChecked(sample())
    const record = headersIn(archive).at(-3)!
    const header = archive.subarray(record, record + 512)
    assert.equal(header.toString('hex', 40, 43), '565203')
    header[48] ^= 1
    header.fill(0, 24, 40)
    header.set(hash('md5', header, 'buffer'), 24)
    await assert.rejects(deframe(archive), { code: 'DAMAGED', where: { offset: record } })
    const findings = new Findings()
    await through('bytes', [new Chunk([archive])], [vmaDeframer({ findings })])
    assert.equal(findings.damageCount, 1)
    for (const { suspect, seen } of findings.drives.values())
      assert.deepEqual([suspect.count, seen.count], [0, seen.size])
  })

  test('without hashes has CRC-32, and comes back', async () => {
    const archive = await frameChecked(sample(), { hashes: false })
    assert.equal(archive.toString('hex', 12800 + 504, 12800 + 508), '56430100')
    assert.ok((await frameChecked(await deframe(archive), { hashes: false })).equals(archive))
    assert.equal(headersIn(archive).length, headersIn(await frame(sample(), 2)).length + 2)
  })

  test('of more than 16384 clusters has groups of hashes between its extents', async () => {
    const count = 2 * 16384 + 100
    const block = Buffer.alloc(4096, 1)
    const runs = Array.from({ length: count / 4 }, (_, index) => {
      block[0] = 1 + (index % 7)
      const masks = Uint16Array.of(1, 0x10, 0, 1)
      return new Run(1, index * 4, 4, [Buffer.from(block), block, block], masks)
    })
    const stages = [vmaFramer(), vmaDeframer()]
    const groups: number[] = []
    const look = (chunk: Chunk) => {
      if (chunk.hashes) groups.push(chunk.byteLength / 512)
      return chunk
    }
    const manifest = manifestOf(count * CLUSTER_SIZE)
    await definePipeline([itemsOf('clusters', [manifest, ...runs]), stages[0], look, stages[1], verifier()]).run()
    // Of a full extent 43 or 44 clusters are stored.
    assert.deepEqual(groups, [647, 326])
  })

  test('has no room for 59 clusters in an extent', () => {
    assert.throws(() => vmaFramer({ slots: 59 }), { code: 'USAGE', message: /at most 58/ })
  })
})

describe('archives of the real tool', { ...needsGolden, timeout: 180_000 }, () => {
  for (const [name, { layout }] of golden) {
    test(`${name}: deframed and framed again it is the same, byte for byte`, async () => {
      const archive = goldenBytes(name)
      const items = await deframe(archive, 1 << 20)
      const manifest = items[0] as Manifest
      assert.equal(manifest.kind, 'manifest')
      if (Array.isArray(layout.order)) {
        const clusters = layout.order.reduce((sum, [, , count]) => sum + count, 0)
        assert.equal(
          items.slice(1).reduce((sum, item) => sum + (item as Run).count, 0),
          clusters,
        )
      }
      assert.ok((await frame(items)).equals(archive))
    })
  }
})

function headersIn(archive: Buffer): number[] {
  const found = []
  for (let at = 12800; at < archive.length; at += 512 + archive.readUInt16BE(at + 6) * 4096) found.push(at)
  return found
}
