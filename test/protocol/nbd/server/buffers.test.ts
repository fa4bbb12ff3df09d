import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PayloadBuffers, roomFor } from '../../../../src/protocol/nbd/server/buffers.ts'

const MiB = 1 << 20

describe('buffers for payload', () => {
  test('are used again by requests of about their size', () => {
    const buffers = new PayloadBuffers(64 * MiB)
    const first = buffers.take(60_000)
    assert.equal(first.length, roomFor(65_536))
    buffers.give(first)
    assert.equal(buffers.take(65_536), first)
    assert.notEqual(buffers.take(65_536), first)
  })

  test('what lies unused makes room for what is taken', () => {
    const buffers = new PayloadBuffers(4 * MiB)
    const small = Array.from({ length: 32 }, () => buffers.take(65_536))
    for (const buffer of small) buffers.give(buffer)
    const large = [buffers.take(MiB), buffers.take(MiB)]
    // Freed at once: their memory is gone from them.
    const freed = small.filter(({ length }) => length === 0).length
    assert.ok(freed > 0 && freed < 4, `${freed} of 32`)
    large.push(buffers.take(2 * MiB))
    assert.ok(small.every(({ length }) => length === 0))
    for (const buffer of large) buffers.give(buffer)
    assert.equal(buffers.take(MiB), large[1])
  })

  test('no more is kept than may be lent', () => {
    const buffers = new PayloadBuffers(2 * MiB)
    const [one, other] = [buffers.take(MiB), buffers.take(MiB)]
    buffers.give(one)
    buffers.give(other)
    assert.deepEqual([one.length === 0, other.length === 0], [true, false])
  })
})
