import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../src/core/errors.ts'
import { type DriveFindings, Findings } from '../../src/core/findings.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Chunk, type Item, Run } from '../../src/core/items.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { manifestOf, through } from '../support/flow.ts'
import { DRIVE, type Forgery, forge, UUID } from '../support/forge.ts'

const timeout = 60_000
const HEADER = 12800
const CLUSTERS = 6

/** Drive 1 of six clusters of 'a', 'b', …, drive 2 of one of 'z'; extents of two clusters. Every cluster stores its first block. */
async function archiveOf(options: { checksums?: boolean; index?: boolean } = {}): Promise<Buffer> {
  const items: Item[] = [manifestOf(CLUSTERS * CLUSTER_SIZE, CLUSTER_SIZE)]
  const block = (letter: string) => Buffer.alloc(4096, letter)
  for (let cluster = 0; cluster < CLUSTERS; cluster++)
    items.push(new Run(1, cluster, 1, [block('abcdef'[cluster])], Uint16Array.of(1)))
  items.push(new Run(2, 0, 1, [block('z')], Uint16Array.of(1)))
  const chunks = await through<Chunk>('clusters', items, [vmaFramer({ slots: 2, ...options })])
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

/** Where extent `index` begins: two clusters of one block in each before it. */
const extentAt = (index: number) => HEADER + index * (512 + 2 * 4096)

interface Outcome {
  findings: Findings
  /** "1:0" to its first letter, of every cluster that came. */
  came: Record<string, string>
  lines: string[]
}

async function read(...parts: (Buffer | Chunk)[]): Promise<Outcome> {
  const findings = new Findings()
  const chunks = parts.map((part) => (part instanceof Chunk ? part : new Chunk([part])))
  const items = await through<Item>('bytes', chunks, [vmaDeframer({ findings })])
  const came: Record<string, string> = {}
  for (const item of items) {
    if (item.kind !== 'run') continue
    const bytes = Buffer.concat(item.blocks)
    for (let index = 0; index < item.count; index++)
      came[`${item.drive}:${item.first + index}`] = String.fromCharCode(bytes[index * 4096])
  }
  return { findings, came, lines: findings.damage.map(({ error }) => error.line) }
}

const all = { '1:0': 'a', '1:1': 'b', '1:2': 'c', '1:3': 'd', '1:4': 'e', '1:5': 'f', '2:0': 'z' }
const but = (...names: string[]) => Object.fromEntries(Object.entries(all).filter(([name]) => !names.includes(name)))
const clusters = (ranges: Iterable<{ offset: number; length: number }>) =>
  [...ranges].map(({ offset, length }) => [offset / CLUSTER_SIZE, length / CLUSTER_SIZE])
const drive = ({ drives }: Findings, id = 1): DriveFindings => drives.get(id)!

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] ^= 4
  return copy
}

describe('a deframer that goes on behind damage', { timeout }, () => {
  test('finds nothing in an archive that is whole, and counts what was checked', async () => {
    const { findings, came } = await read(await archiveOf())
    assert.deepEqual(came, all)
    assert.equal(findings.damageCount, 0)
    assert.deepEqual(
      [...findings.drives.values()].map(({ checked, isSound }) => [checked, isSound]),
      [
        [6, true],
        [1, true],
      ],
    )
    const plain = await read(await archiveOf({ checksums: false, index: false }))
    assert.deepEqual([plain.findings.damageCount, drive(plain.findings).checked], [0, 0])
  })

  test('passes data on that does not match its checksum, as suspect', async () => {
    const { findings, came, lines } = await read(flipped(await archiveOf(), extentAt(1) + 512 + 4096 + 7))
    assert.deepEqual(came, all)
    assert.deepEqual(lines, [
      `vma-deframer: the checksum of the data of this extent is wrong (clusters: drive-scsi0 2 to 3) (byte ${extentAt(1)})`,
    ])
    assert.deepEqual(findings.damage[0].clusters, [{ id: 1, drive: 'drive-scsi0', first: 2, count: 2 }])
    assert.deepEqual([clusters(drive(findings).damaged()), clusters(drive(findings).missing())], [[[2, 2]], []])
    assert.deepEqual([drive(findings).isSound, drive(findings, 2).isSound], [false, true])
  })

  for (const pieces of [1, 500, 100_000]) {
    test(`goes on with the extent behind a broken header, in pieces of ${pieces} bytes`, async () => {
      const archive = flipped(await archiveOf(), extentAt(1) + 100)
      const parts = []
      for (let at = 0; at < archive.length; at += pieces) parts.push(archive.subarray(at, at + pieces))
      const { findings, came, lines } = await read(...parts)
      assert.deepEqual(came, but('1:2', '1:3'))
      assert.match(lines[0], /checksum of the extent header is wrong/)
      assert.match(lines[1], /2 of 6 clusters missing.*drive drive-scsi0, cluster 2/)
      assert.equal(lines.length, 2)
      assert.deepEqual(clusters(drive(findings).missing()), [[2, 2]])
      assert.ok(drive(findings, 2).isSound)
    })
  }

  for (const missing of [512, 4096, 8192]) {
    test(`loses one extent if ${missing} bytes of it are missing`, async () => {
      const archive = await archiveOf()
      const cut = extentAt(1) + 512
      const { came, lines } = await read(archive.subarray(0, cut), archive.subarray(cut + missing))
      assert.deepEqual(came, but('1:2', '1:3'))
      assert.match(lines[0], /checksum of the data/)
      assert.match(lines[1], /2 of 6 clusters missing/)
      assert.equal(lines.length, 2)
    })
  }

  test('finds the extent behind one that lacks but a few bytes', async () => {
    const archive = await archiveOf()
    for (const missing of [1, 100, 511]) {
      const cut = extentAt(1) + 1000
      const { came, lines, findings } = await read(archive.subarray(0, cut), archive.subarray(cut + missing))
      assert.deepEqual(came, all)
      assert.match(lines[0], /checksum of the data/)
      assert.match(lines[1], /no extent begins here/)
      assert.equal(lines.length, 2)
      assert.deepEqual(clusters(drive(findings).damaged()), [[2, 2]])
    }
  })

  test('passes over what is no extent', async () => {
    const archive = await archiveOf()
    const other = forge({ extents: [[{ drive: 1, cluster: 0, mask: 1 }]], extent: (bytes) => bytes.fill(8, 8, 24) })
    for (const garbage of [Buffer.from('VMAE'), UUID, other.subarray(HEADER), Buffer.alloc(70_000, UUID)]) {
      const { came, findings } = await read(archive.subarray(0, extentAt(2)), garbage, archive.subarray(extentAt(2)))
      assert.deepEqual(came, all)
      assert.equal(findings.damageCount, 1)
      assert.equal(findings.damage[0].error.where.offset, extentAt(2))
    }
  })

  test('reports an end that is missing, broken, or not of this archive, once', async () => {
    const archive = await archiveOf()
    const records = extentAt(3) + 512 + 4096
    const cases: [Buffer[], RegExp[]][] = [
      [[archive.subarray(0, records)], [/has no end/]],
      [[archive.subarray(0, -512)], [/has no end/]],
      [[archive.subarray(0, -1)], [/ends within an extent/]],
      [[flipped(archive, archive.length - 1)], [/checksum of the extent header/, /has no end/]],
      [[archive.subarray(0, records), archive.subarray(-512)], [/says that it has 5 extents/]],
    ]
    for (const [parts, expected] of cases) {
      const { came, lines } = await read(...parts)
      assert.deepEqual(came, all)
      assert.equal(lines.length, expected.length, lines.join('\n'))
      for (const [index, pattern] of expected.entries()) assert.match(lines[index], pattern)
    }
  })

  test('skips all bytes behind an end, and says where they begin', async () => {
    const archive = await archiveOf()
    for (const behind of [archive.subarray(-512), Buffer.from('x'), archive, Buffer.alloc(9000)]) {
      const { came, lines, findings } = await read(archive, behind)
      assert.deepEqual(came, all)
      assert.deepEqual(lines, [])
      assert.deepEqual(findings.behind, { offset: archive.length, within: 'archive' })
    }
  })

  test('drops the extent that a gap is in, and goes on behind it', async () => {
    const archive = await archiveOf()
    const error = new VmapipeError('DAMAGED', 'a frame is damaged')
    const gap = new Chunk([], [], { error, lost: true, doubtful: 0 })
    const { came, lines } = await read(
      archive.subarray(0, extentAt(1) + 3000),
      gap,
      archive.subarray(extentAt(2) - 100, extentAt(3) + 17),
      gap,
      archive.subarray(-512),
    )
    assert.deepEqual(came, but('1:2', '1:3', '2:0'))
    assert.deepEqual(lines.length, 2)
    await assert.rejects(read(archive.subarray(0, 5000), gap, archive.subarray(5000)), error)
  })

  test('holds in doubt what came before a gap and had no checksum', async () => {
    const gap = (doubtful: number) =>
      new Chunk([], [], { error: new VmapipeError('DAMAGED', 'too late'), lost: false, doubtful })
    const plain = await archiveOf({ checksums: false, index: false })
    const [before, after] = [plain.subarray(0, extentAt(2)), plain.subarray(extentAt(2))]
    const short = await read(before, gap(4000), after)
    assert.deepEqual(short.came, all)
    assert.deepEqual(clusters(drive(short.findings).damaged()), [[2, 2]])
    const longer = await read(before, gap(2 * 4096 + 513), after)
    assert.deepEqual(clusters(drive(longer.findings).damaged()), [[0, 4]])
    const checked = await archiveOf()
    const sound = await read(checked.subarray(0, extentAt(2)), gap(9000), checked.subarray(extentAt(2)))
    assert.deepEqual([sound.findings.damageCount, drive(sound.findings).isSound], [0, true])
  })

  test('holds in doubt an extent that had come in part', async () => {
    const plain = await archiveOf({ checksums: false, index: false })
    const gap = new Chunk([], [], { error: new VmapipeError('DAMAGED', 'too late'), lost: false, doubtful: 512 })
    const suspectAt = async (at: number) => {
      const { came, findings } = await read(plain.subarray(0, at), gap, plain.subarray(at))
      assert.deepEqual(came, all)
      return clusters(drive(findings).damaged())
    }
    assert.deepEqual(await suspectAt(extentAt(1) + 512 + 4096), [[2, 2]])
    assert.deepEqual(await suspectAt(extentAt(1) + 512), [], 'a header has a checksum of its own')
  })

  test('suspects all clusters if it no longer knows which came from these bytes', async () => {
    const extents = Array.from({ length: 200 }, (_, cluster) => [{ drive: 1, cluster, mask: 1 }])
    const archive = forge({ drives: [{ ...DRIVE, size: 200 * CLUSTER_SIZE }], extents })
    const error = new VmapipeError('DAMAGED', 'too late')
    const { findings } = await read(archive, new Chunk([], [], { error, lost: false, doubtful: archive.length }))
    assert.deepEqual(clusters(drive(findings).damaged()), [[0, 200]])
    const last = await read(archive, new Chunk([], [], { error, lost: false, doubtful: 3 * (512 + 4096) }))
    assert.deepEqual(clusters(drive(last.findings).damaged()), [[197, 3]])
  })

  const slot = (cluster: number, id = 1) => ({ drive: id, cluster, mask: 1 })
  for (const [what, forgery, message, damaged] of [
    ['comes twice', { extents: [[slot(0), slot(1)], [slot(1)]] }, /cluster 1/, [[1, 1]]],
    ['is past the end', { extents: [[slot(0), slot(1), slot(2)]] }, /past the end.*cluster 2/, []],
    ['is of no drive', { extents: [[slot(0), slot(0, 9), slot(1)]] }, /dev_id 9/, []],
  ] as [string, Forgery, RegExp, number[][]][]) {
    test(`leaves out a cluster that ${what}`, async () => {
      const { came, lines, findings } = await read(forge(forgery))
      assert.deepEqual(came, { '1:0': 'Z', '1:1': 'Z' })
      assert.equal(lines.length, 1)
      assert.match(lines[0], message)
      assert.deepEqual(clusters(drive(findings).damaged()), damaged)
    })
  }

  test('keeps so much of the damage that it fits into memory, and counts the rest', async () => {
    const extents = [[slot(0), slot(1)], ...Array.from({ length: 3000 }, () => [{ ...slot(1), mask: 0 }])]
    const { findings } = await read(forge({ extents }))
    assert.deepEqual([findings.damage.length, findings.damageCount], [1000, 3000])
  })

  test('notices every byte that is changed, and never gives what did not come', async () => {
    const archive = await archiveOf()
    const places = fc.integer({ min: HEADER, max: archive.length - 1 })
    const property = fc.asyncProperty(places, fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const copy = Buffer.from(archive)
      copy[at] ^= change
      const { findings, came } = await read(copy)
      assert.ok(findings.damageCount > 0)
      for (const id of [1, 2]) {
        const { seen, suspect } = drive(findings, id)
        for (let cluster = 0; cluster < seen.size; cluster++) {
          assert.equal(seen.has(cluster), came[`${id}:${cluster}`] !== undefined)
          if (seen.has(cluster) && !suspect.has(cluster))
            assert.equal(came[`${id}:${cluster}`], all[`${id}:${cluster}` as keyof typeof all])
        }
      }
    })
    await fc.assert(property, { interruptAfterTimeLimit: 5_000, numRuns: 300 })
  })
})
