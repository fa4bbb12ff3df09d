import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeExtentHeader } from '../../../src/formats/vma/extent.ts'
import { GROUP_CLUSTERS, HashRecordCheck, HashRecordWriter, recordsOf } from '../../../src/formats/vma/hash-records.ts'
import { HASHES, type RecordExtent } from '../../../src/formats/vma/records.ts'

const UUID = Buffer.alloc(16, 3)
/** For each extent, how many clusters it stores. */
const extents = fc.array(fc.nat(58), { maxLength: 40 })

function hashesOf(count: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: count * 16 }, (_, at) => (at * 7 + seed * 13) % 256))
}

function recordsFor(counts: number[]): RecordExtent[] {
  const writer = new HashRecordWriter(UUID)
  for (const [index, count] of counts.entries()) writer.add(hashesOf(count, index))
  assert.equal(
    writer.isEmpty,
    counts.every((count) => count === 0),
  )
  const bytes = writer.take()
  assert.ok(writer.isEmpty)
  return Array.from({ length: bytes.length / 512 }, (_, at) => {
    const { record, blocks } = decodeExtentHeader(bytes.subarray(at * 512, (at + 1) * 512), UUID, 0)
    assert.equal(blocks, 0)
    return record!
  })
}

/** Checks two groups of these extents, so that the second one begins anew. */
function check(counts: number[], records: RecordExtent[], known = true): void {
  const checking = new HashRecordCheck()
  for (let group = 0; group < 2; group++) {
    for (const [index, count] of counts.entries()) checking.add(hashesOf(count, index), known || index % 2 === 0, index)
    for (const [at, record] of records.entries()) checking.see(record, 1000 + at)
  }
  checking.end(9000)
}

test('records carry the hashes of a group, in pieces of 406 bytes', () => {
  fc.assert(
    fc.property(extents, (counts) => {
      const records = recordsFor(counts)
      const all = Buffer.concat(counts.map(hashesOf))
      assert.equal(records.length, recordsOf(all.length / 16))
      assert.deepEqual(Buffer.concat(records.map(({ bytes }) => bytes)).subarray(0, all.length), all)
      assert.ok(records.every(({ kind, number }, index) => kind === HASHES && number === index))
      check(counts, records)
    }),
  )
})

test('a record that is wrong, missing, or one too many is damage at its place', () => {
  const counts = [58, 0, 31, 58]
  const wrong = (from: number, to: number, byte: number) =>
    recordsFor(counts).map((record, index) => {
      if (index === from) record.bytes[byte] ^= 1
      return { ...record, number: index === to ? record.number + 1 : record.number }
    })
  for (const [at, byte] of [
    [0, 0],
    [3, 405],
    [5, 405],
  ] as const)
    assert.throws(() => check(counts, wrong(at, -1, byte)), { code: 'DAMAGED', where: { offset: 1000 + at } })
  assert.throws(() => check(counts, wrong(-1, 2, 0)), {
    message: /hash record 2 of 6 is missing/,
    where: { offset: 1002 },
  })
  assert.throws(() => check(counts, recordsFor(counts).slice(1)), { message: /hash record 0 of 6/ })
  assert.throws(() => check(counts, recordsFor(counts).slice(0, -1)), { message: /hash record 5 of 6/ })
  assert.throws(() => check(counts, [...recordsFor(counts), ...recordsFor([1])]), { message: /hash record 0 of 0/ })
  assert.throws(() => check(counts, []), { message: /hash record 0 of 6|missing/ })
})

test('hashes of clusters whose data is damaged are not compared, those beside them are', () => {
  const counts = [20, 30, 20]
  const changed = (hash: number) =>
    recordsFor(counts).map((record, index) => {
      if (index === Math.floor((hash * 16) / 406)) record.bytes[(hash * 16) % 406] ^= 1
      return record
    })
  check(counts, changed(20), false)
  check(counts, changed(49), false)
  assert.throws(() => check(counts, changed(19), false), { code: 'DAMAGED' })
  assert.throws(() => check(counts, changed(50), false), { code: 'DAMAGED' })
})

test('clusters without end and without records do not take memory without end', () => {
  const checking = new HashRecordCheck()
  const hashes = hashesOf(58, 1)
  for (let count = 0; count < GROUP_CLUSTERS; count += 58) checking.add(hashes, true, 7)
  assert.throws(() => checking.add(hashes, true, 8), { code: 'DAMAGED', where: { offset: 8 } })
})
