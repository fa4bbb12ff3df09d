/** Which records a disk of the writer holds, and whether that is what it held at one instant. */

import assert from 'node:assert/strict'
import { BLOCK, ballast, recordBlock, recordName, SLOTS, slotRest } from './disk.ts'

export interface DiskContent {
  log: string
  slots: Buffer[]
  /** Undefined once the writer has removed it. */
  ballast: Buffer | undefined
}

/** What is known of the instant: these records were acknowledged before it, and no later ones were begun before it. */
export interface Bounds {
  acked: number
  begun: number
  /** The record after which the writer removed the ballast. */
  trim?: number
}

/**
 * The disk's last record, m: the log holds exactly 1..m, with acked <= m <= begun, and every slot and the ballast are as
 * they were between the end of record m and the end of record m+1.
 */
export function checkRecords(content: DiskContent, { acked, begun, trim }: Bounds): number {
  const lines = content.log.split('\n')
  const last = lines.length - 1
  const expected = Array.from({ length: last }, (_, index) => `${recordName(index + 1)}\n`).join('')
  assert.ok(content.log === expected, `the log is not the records 1..${last} in order:\n${content.log.slice(-200)}`)
  assert.ok(last >= acked, `record ${acked} was acknowledged before the instant, but the last one there is ${last}`)
  assert.ok(last <= begun, `record ${last} is there, but only ${begun} were begun before the instant`)
  assert.equal(content.slots.length, SLOTS)
  for (const [slot, bytes] of content.slots.entries()) checkSlot(slot, bytes, last, begun)
  checkBallast(content.ballast, last, trim)
  return last
}

/** The last records of all disks of a guest, in the writer's order: at one instant only some of the later ones lack the newest. */
export function checkOneInstant(lasts: readonly number[]): void {
  const [first] = lasts
  const behind = lasts.findIndex((last) => last !== first)
  const rest = behind === -1 ? [] : lasts.slice(behind)
  assert.ok(
    rest.every((last) => last === first - 1),
    `the disks are not of one instant: their last records are ${lasts.join(', ')}`,
  )
}

function checkSlot(slot: number, bytes: Buffer, last: number, begun: number): void {
  const first = bytes.subarray(0, BLOCK)
  const due = lastRecordOn(slot, last)
  // The slot is written before the log: the record after the last may be there.
  const next = last + 1
  const ahead = next <= begun && lastRecordOn(slot, next) === next && first.equals(recordBlock(next))
  assert.ok(
    ahead || first.equals(recordBlock(due)),
    `slot ${slot} should hold record ${due} (the log ends with ${last}), not ${JSON.stringify(first.toString('latin1', 0, 16))}`,
  )
  assert.ok(bytes.subarray(BLOCK).equals(slotRest(slot)), `slot ${slot} changed where the guest never wrote`)
}

/** Records fall on the slots like the writer's `n * 101 % 256`. */
function lastRecordOn(slot: number, last: number): number {
  for (let n = last; n > 0 && n > last - SLOTS; n--) {
    if ((n * 101) % SLOTS === slot) return n
  }
  return 0
}

function checkBallast(found: Buffer | undefined, last: number, trim = Number.POSITIVE_INFINITY): void {
  if (found === undefined) {
    assert.ok(
      last >= trim,
      `the ballast is gone, though it was removed after record ${trim} and the last one is ${last}`,
    )
  } else {
    assert.ok(
      last <= trim,
      `the ballast is there, though it was removed after record ${trim} and the last one is ${last}`,
    )
    assert.ok(found.equals(ballast()), 'the ballast changed')
  }
}
