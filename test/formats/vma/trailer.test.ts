import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { Manifest } from '../../../src/core/items.ts'
import { VarintReader, VarintWriter } from '../../../src/formats/varint.ts'
import { decodeClosing } from '../../../src/formats/vma/closing.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE } from '../../../src/formats/vma/extent.ts'
import {
  CLOSING,
  decodeRecord,
  encodeRecord,
  PAGE,
  RECORD_BYTES,
  type RecordExtent,
} from '../../../src/formats/vma/records.ts'
import { TableEncoder, TableReader } from '../../../src/formats/vma/table.ts'
import { TrailerWriter } from '../../../src/formats/vma/trailer.ts'
import { TrailerCheck } from '../../../src/formats/vma/trailer-check.ts'

const UUID = Buffer.alloc(16, 9)
const DRIVES = [
  { id: 3, name: 'b', size: 2 ** 40 },
  { id: 1, name: 'a', size: 2 ** 40 },
]
const MANIFEST = new Manifest({ uuid: UUID, ctime: 0, configs: [], drives: DRIVES })

/** Slots of extents: drive, cluster, mask. */
type Slots = [number, number, number][]

const slots = fc.array(
  fc.tuple(
    fc.constantFrom(1, 3),
    fc.oneof(fc.nat(20), fc.nat(2 ** 24 - 1)),
    fc.constantFrom(0, 0, 1, 0xff00, 0xffff),
  ) as fc.Arbitrary<Slots[number]>,
  { minLength: 1, maxLength: 58 },
)
const archives = fc.array(slots, { maxLength: 100 })

function blocksOf(extent: Slots): number {
  return extent.reduce((sum, [, , mask]) => sum + mask.toString(2).replaceAll('0', '').length, 0)
}

/** The record extents that an archive with these extents ends with, and what comes before them. */
function trailerOf(extents: Slots[], index: boolean): { records: Buffer; bytes: number } {
  const trailer = new TrailerWriter(MANIFEST, 12800, { index, hashes: false })
  let bytes = 12800
  for (const extent of extents) {
    for (const slot of extent) trailer.add(...slot)
    const length = EXTENT_HEADER_SIZE + blocksOf(extent) * 4096
    trailer.endExtent(length)
    bytes += length
  }
  return { records: Buffer.concat([...trailer.finish()]), bytes }
}

function decode(records: Buffer): RecordExtent[] {
  return Array.from({ length: records.length / EXTENT_HEADER_SIZE }, (_, number) => {
    const header = records.subarray(number * EXTENT_HEADER_SIZE, (number + 1) * EXTENT_HEADER_SIZE)
    const { slots, blocks, record } = decodeExtentHeader(header, UUID, 0)
    assert.deepEqual([slots, blocks], [[], 0])
    return record!
  })
}

function check(extents: Slots[], records: RecordExtent[], begin: number): TrailerCheck {
  const trailer = new TrailerCheck(MANIFEST)
  for (const extent of extents) {
    for (const slot of extent) trailer.add(...slot)
    trailer.endExtent(0)
  }
  for (const [number, record] of records.entries()) trailer.see(record, begin + number * EXTENT_HEADER_SIZE)
  return trailer
}

test('numbers of any size survive, and nothing else is one', () => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat()), fc.array(fc.integer()), (naturals, integers) => {
      const writer = new VarintWriter()
      writer.add(...naturals)
      for (const value of integers) writer.addSigned(value)
      const reader = new VarintReader(writer.bytes)
      assert.deepEqual(
        naturals.map(() => reader.next()),
        naturals,
      )
      assert.deepEqual(
        integers.map(() => reader.nextSigned()),
        integers,
      )
      assert.ok(reader.isAtEnd)
    }),
  )
  for (const bytes of ['80', '', 'ffffffffffffffff7f', 'ffffffffffffff1f'])
    assert.throws(() => new VarintReader(Buffer.from(bytes, 'hex')).next(), { code: 'DAMAGED' }, bytes)
})

test('a record extent carries what it was given, and is one of no clusters to others', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: RECORD_BYTES }), fc.nat(2 ** 32 - 1), (bytes, number) => {
      const header = encodeRecord(UUID, { kind: PAGE, number, bytes: Buffer.from(bytes) })
      const [record] = decode(header)
      assert.deepEqual([record.kind, record.number], [PAGE, number])
      assert.deepEqual(record.bytes.subarray(0, bytes.length), Buffer.from(bytes))
      assert.ok(record.bytes.subarray(bytes.length).every((byte) => byte === 0))
    }),
  )
  assert.equal(decodeRecord(Buffer.alloc(512)), null)
})

describe('the end of an archive', () => {
  for (const index of [true, false]) {
    test(`${index ? 'with' : 'without'} an index agrees with what came before it, and tells it`, () => {
      fc.assert(
        fc.property(archives, (extents) => {
          const { records: bytes, bytes: begin } = trailerOf(extents, index)
          const records = decode(bytes)
          assert.ok(check(extents, records, begin).isClosed)
          const closing = decodeClosing(records.at(-1)!)!
          const table = Buffer.concat(records.slice(0, -1).map(({ bytes }) => bytes)).subarray(0, closing.tableBytes)
          assert.deepEqual(closing, {
            hasIndex: index,
            hasHashes: false,
            pages: records.length - 1,
            tableBytes: table.length,
            tableChecksum: crc32(table),
            extents: extents.length,
            bytes: begin,
          })
          const { entries, totals } = readTable(table, index ? extents.length : 0)
          assert.deepEqual(
            totals.map(({ drive }) => drive),
            [1, 3],
          )
          for (const { drive, clusters } of totals)
            assert.equal(clusters, extents.flat().filter(([id]) => id === drive).length)
          if (index)
            assert.deepEqual(
              entries.map(clustersOf),
              extents.map((extent) => extent.map(([drive, cluster, mask]) => [drive, cluster, mask > 0])),
            )
          if (index)
            assert.deepEqual(
              entries.map(({ blocks }) => blocks),
              extents.map(blocksOf),
            )
        }),
        { numRuns: 50 },
      )
    })
  }

  test('of a large drive in order takes some bytes for each extent', () => {
    const table = new TableEncoder([1])
    const extents = 2000
    for (let extent = 0; extent < extents; extent++) {
      for (let slot = 0; slot < 58; slot++) table.add(1, extent * 58 + slot, 0xffff)
      table.endExtent()
    }
    // 290 thousand of them are a drive of 1 TiB.
    assert.ok(table.entries.bytes.length <= extents * 7)
  })

  test('of extents that are alike is the same if their entries are passed over', () => {
    const part = fc.tuple(fc.constantFrom(0, 0xffff, 1), fc.constantFrom(59, 58, 1), fc.integer({ min: 1, max: 9 }))
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), fc.integer({ min: 1, max: 5 }), (parts, most) => {
        const table = new TableEncoder([1])
        const extents = parts.flatMap(([mask, count, times]) => Array.from({ length: times }, () => ({ mask, count })))
        let next = 0
        for (const { mask, count } of extents) {
          for (let left = count; left > 0; left--) table.add(1, next++, mask)
          table.endExtent()
        }
        const reader = new TableReader(table.finish())
        let [at, first] = [0, 0]
        while (at < extents.length) {
          reader.next()
          const { mask, count } = extents[at]
          assert.deepEqual([reader.runs, reader.firsts[0], reader.counts[0]], [1, first, count])
          const times = reader.passRepeats(Math.min(most, extents.length - at - 1))
          const alike = extents.slice(at + 1).findIndex((other) => other.mask !== mask || other.count !== count)
          assert.equal(times, Math.min(most, alike < 0 ? extents.length - at - 1 : alike))
          first += (times + 1) * count
          at += times + 1
        }
        assert.equal(reader.totals()[0].clusters, next)
      }),
    )
  })

  test('that does not agree is damage: another extent, a missing page, one too many', () => {
    const extents: Slots[] = Array.from({ length: 200 }, (_, n) => [
      [1, n * 7, 0xffff],
      [3, n * 1000, 0],
    ])
    const { records: bytes, bytes: begin } = trailerOf(extents, true)
    const records = decode(bytes)
    assert.ok(records.length > 3)
    const other = structuredClone(extents)
    other[100][0][1]++
    const damage: [RegExp, Slots[], RecordExtent[]][] = [
      [/does not agree with its extents/, other, records],
      [/page 1 of its table is missing/, extents, records.toSpliced(1, 1)],
      [/there are 200, \d+ and \d/, extents, records.toSpliced(-2, 1)],
      [/the archive says that it has 200 extents .* there are 199/, extents.slice(1), records],
      [
        /checksum of its table is wrong/,
        extents,
        records.map((record, n) => (n === 1 ? { ...record, bytes: Buffer.alloc(RECORD_BYTES, 1) } : record)),
      ],
      [/claims 0 pages for a table/, extents, records.with(-1, { ...records.at(-1)!, number: 0 })],
    ]
    for (const [message, before, after] of damage)
      assert.throws(() => check(before, after, begin), { code: 'DAMAGED', message })
    const ended = check(extents, records.slice(0, 1), begin)
    assert.throws(() => ended.endExtent(0), { code: 'DAMAGED', message: /follows the table/ })
  })

  test('of an unknown version is an end too', () => {
    const bytes = Buffer.alloc(32, 2)
    assert.ok(check([], [{ kind: CLOSING, number: 0, bytes }], 0).isClosed)
  })
})

test('a wrong table is damage, and neither a crash nor an endless loop', () => {
  const lies = [[1], [0, 1, 1, 0, 2 * 59], [0, 60, ...Array(180).fill(0)], [0, 1, 1, 1, 0], [17, 1, 1, 0, 0]]
  for (const numbers of lies) {
    const writer = new VarintWriter()
    writer.add(...numbers)
    assert.throws(() => readTable(writer.bytes, 1), { code: 'DAMAGED' }, String(numbers))
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(1000), (bytes, extents) => {
      try {
        for (const { runs } of readTable(bytes, extents).entries) assert.ok(runs.length <= 59)
      } catch (error: any) {
        assert.equal(error.code, 'DAMAGED')
      }
    }),
  )
})

interface IndexEntry {
  blocks: number
  runs: { drive: number; first: number; count: number; stored: boolean }[]
}

function readTable(bytes: Uint8Array, extents: number) {
  const table = new TableReader(bytes)
  const entries = Array.from({ length: extents }, (): IndexEntry => {
    table.next()
    const runs = Array.from({ length: table.runs }, (_, run) => ({
      drive: table.drives[run],
      first: table.firsts[run],
      count: table.counts[run],
      stored: table.stored[run] === 1,
    }))
    return { blocks: table.blocks, runs }
  })
  return { entries, totals: table.totals() }
}

/** Drive, cluster, whether stored. */
function clustersOf({ runs }: IndexEntry): [number, number, boolean][] {
  return runs.flatMap(({ drive, first, count, stored }) =>
    Array.from({ length: count }, (_, n): [number, number, boolean] => [drive, first + n, stored]),
  )
}
