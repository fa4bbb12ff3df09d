import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BLOCK, ballast, recordBlock, recordName, SLOTS, slotRest } from './disk.ts'
import { checkOneInstant, checkRecords, type DiskContent } from './records.ts'

/** A disk right after record `last`. */
function disk(last: number): DiskContent {
  const slots = Array.from({ length: SLOTS }, (_, slot) => Buffer.concat([recordBlock(0), slotRest(slot)]))
  for (let n = 1; n <= last; n++) recordBlock(n).copy(slots[(n * 101) % SLOTS])
  const log = Array.from({ length: last }, (_, index) => `${recordName(index + 1)}\n`).join('')
  return { log, slots, ballast: ballast() }
}

const slotOf = (n: number) => (n * 101) % SLOTS

describe('the check of a restored disk', () => {
  test('takes a disk of any instant between two records', () => {
    assert.equal(checkRecords(disk(0), { acked: 0, begun: 0 }), 0)
    assert.equal(checkRecords(disk(700), { acked: 699, begun: 700 }), 700)
    const between = disk(300)
    recordBlock(301).copy(between.slots[slotOf(301)])
    assert.equal(checkRecords(between, { acked: 300, begun: 301 }), 300)
  })

  test('sees a record lost or written too late', () => {
    assert.throws(() => checkRecords(disk(10), { acked: 11, begun: 12 }), /was acknowledged/)
    assert.throws(() => checkRecords(disk(10), { acked: 8, begun: 9 }), /only 9 were begun/)
    const late = disk(10)
    recordBlock(11).copy(late.slots[slotOf(11)])
    assert.throws(() => checkRecords(late, { acked: 10, begun: 10 }), /should hold record 0/)
    const wayAhead = disk(10)
    recordBlock(12).copy(wayAhead.slots[slotOf(12)])
    assert.throws(() => checkRecords(wayAhead, { acked: 10, begun: 12 }), /should hold record 0/)
  })

  test('sees a gap, half a record and a torn tail in the log', () => {
    const whole = disk(10)
    for (const log of [
      whole.log.replace('00000005\n', ''),
      whole.log.slice(0, -1),
      `${whole.log}\0\0\0`,
      whole.log.replace('00000005', '00000000'),
    ]) {
      assert.throws(() => checkRecords({ ...whole, log }, { acked: 0, begun: 20 }), /not the records/)
    }
  })

  test('sees a block that is older, newer or other than it was', () => {
    const old = disk(300)
    recordBlock(300 - SLOTS).copy(old.slots[slotOf(300)])
    assert.throws(() => checkRecords(old, { acked: 300, begun: 301 }), /should hold record 300/)
    const strange = disk(300)
    strange.slots[9][BLOCK + 5] ^= 1
    assert.throws(() => checkRecords(strange, { acked: 300, begun: 301 }), /slot 9 changed/)
    const short = disk(300)
    short.slots[9] = short.slots[9].subarray(0, -1)
    assert.throws(() => checkRecords(short, { acked: 300, begun: 301 }), /slot 9 changed/)
  })

  test('wants the ballast whole before the trim, and gone after it', () => {
    const there = disk(50)
    const gone = { ...there, ballast: undefined }
    const bounds = { acked: 50, begun: 51 }
    assert.throws(() => checkRecords(gone, bounds), /is gone/)
    assert.throws(() => checkRecords(gone, { ...bounds, trim: 51 }), /is gone/)
    assert.throws(() => checkRecords(there, { ...bounds, trim: 49 }), /is there/)
    for (const content of [there, gone]) assert.equal(checkRecords(content, { ...bounds, trim: 50 }), 50)
    const bad = { ...there, ballast: Buffer.from(there.ballast!) }
    bad.ballast[5 * BLOCK] ^= 1
    assert.throws(() => checkRecords(bad, bounds), /ballast changed/)
  })

  test('takes disks of one instant only', () => {
    for (const lasts of [[], [7], [7, 7, 7], [7, 7, 6], [7, 6, 6]]) checkOneInstant(lasts)
    for (const lasts of [
      [6, 7],
      [7, 5],
      [7, 6, 7],
      [7, 6, 5],
    ]) {
      assert.throws(() => checkOneInstant(lasts), /not of one instant/)
    }
  })
})
