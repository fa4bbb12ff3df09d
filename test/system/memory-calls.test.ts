import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { FrameMapWriter } from '../../src/formats/frame-map/frame-map.ts'
import { memoryCalls } from '../../src/system/memory-calls.ts'
import { seeded } from '../support/random.ts'

const calls = memoryCalls()
const skip = calls === null && 'koffi cannot be loaded'
const timeout = 60_000

function randomBytes(length: number, seed: number): Buffer {
  const random = seeded(seed)
  return Buffer.from(Uint8Array.from({ length }, () => random() * 256))
}

describe('memory is worked on in the pool', { timeout, skip }, () => {
  test('as the event loop would do it', async () => {
    const bytes = randomBytes(300_000, 1)
    const copy = Buffer.alloc(bytes.length + 2, 7)
    await calls!.copy(copy.subarray(1), bytes)
    assert.ok(copy.equals(Buffer.concat([Buffer.of(7), bytes, Buffer.of(7)])))
    await assert.rejects(calls!.copy(Buffer.alloc(1), Buffer.alloc(2)), RangeError)
    assert.equal(await calls!.crc32(bytes), crc32(bytes))
    assert.equal(await calls!.crc32(Buffer.alloc(0)), 0)
  })

  test('CRC-32s of parts join to that of the whole', () => {
    const bytes = randomBytes(5000, 2)
    for (const at of [0, 1, 2500, 4999, 5000]) {
      const [first, second] = [bytes.subarray(0, at), bytes.subarray(at)]
      assert.equal(calls!.joinCrc32(crc32(first), crc32(second), second.length), crc32(bytes))
    }
  })

  test('a map of frames is the same, wherever the CRC-32s were made', () => {
    const frames = [1, 70_000, 0, 12].map((length, seed) => randomBytes(length, seed))
    const [there, here] = [new FrameMapWriter('skippable'), new FrameMapWriter('skippable')]
    for (const frame of frames) {
      here.add([frame], 9)
      there.addSummed(frame.length, crc32(frame), 9)
    }
    assert.deepEqual(Buffer.concat(there.finish()), Buffer.concat(here.finish()))
  })
})
