import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES } from '../../../src/protocol/nbd/constants.ts'
import { type Change, cover, Journal } from '../../../src/protocol/nbd/journal.ts'
import { seeded as random } from '../../support/random.ts'

function apply(bytes: Buffer, { type, offset, length, payload = [] }: Change): void {
  if (type === CMD_WRITE) Buffer.concat(payload).copy(bytes, offset)
  else bytes.fill(0, offset, offset + length)
}

test('what is kept brings a disk that lost it to where it was, in any order, and takes no more than was promised', () => {
  const next = random(7)
  const below = (n: number) => Math.floor(next() * n)
  const journal = new Journal(8192)
  const now = Buffer.alloc(4096)
  const durable = Buffer.from(now)
  for (let step = 0; step < 3000; step++) {
    const offset = below(4000)
    const length = 1 + (below(4096 - offset) % 700)
    const type = [CMD_WRITE, CMD_WRITE, CMD_WRITE_ZEROES, CMD_TRIM][below(4)]
    const data = Buffer.alloc(length, 1 + below(255))
    const cut = below(length)
    const payload = type === CMD_WRITE ? [data.subarray(0, cut), data.subarray(cut)] : undefined
    const change = { type, flags: 0, offset, length, payload }
    if (!journal.reserve(change)) {
      journal.drop(journal.mark)
      now.copy(durable)
      assert.ok(journal.reserve(change))
    }
    journal.add(change)
    apply(now, change)
    // The caller's buffer is used again.
    data.fill(0xff)
    assert.ok(journal.used <= journal.capacity)
    if (step % 50 > 0) continue
    const lost = Buffer.from(durable)
    const changes = journal.changes().sort(() => next() - 0.5)
    for (const made of changes) apply(lost, made)
    assert.ok(lost.equals(now), `after ${step} steps`)
    const touched = Buffer.alloc(4096)
    for (const made of changes) {
      assert.ok(touched.subarray(made.offset, made.offset + made.length).every((byte) => byte === 0))
      touched.fill(1, made.offset, made.offset + made.length)
    }
  }
})

test('what comes after the mark of a flush stays', () => {
  const journal = new Journal(8192)
  const write = (offset: number) => {
    const change = { type: CMD_WRITE, flags: 0, offset, length: 1, payload: [Buffer.from('x')] }
    assert.ok(journal.reserve(change))
    journal.add(change)
  }
  write(0)
  const { mark } = journal
  write(1)
  journal.drop(mark)
  assert.deepEqual(
    journal.changes().map(({ offset }) => offset),
    [1],
  )
  journal.drop(mark)
  assert.equal(journal.changes().length, 1)
  journal.drop(journal.mark)
  assert.ok(journal.isEmpty)
  assert.equal(journal.used, 0)
})

test('ranges are claimed once', () => {
  const next = random(3)
  const ranges: number[] = []
  const taken = new Set<number>()
  for (let i = 0; i < 500; i++) {
    const start = Math.floor(next() * 1000)
    const end = start + 1 + Math.floor(next() * 30)
    const free = new Set<number>()
    for (const [from, to] of cover(ranges, start, end)) for (let at = from; at < to; at++) free.add(at)
    for (let at = start; at < end; at++) {
      assert.equal(free.has(at), !taken.has(at))
      taken.add(at)
    }
    assert.ok(ranges.every((bound, index) => index === 0 || bound > ranges[index - 1]))
  }
})
