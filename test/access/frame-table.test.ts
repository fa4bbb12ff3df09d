import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FrameTable } from '../../src/access/frame-table.ts'
import { type MapBytes, mapInMemory } from '../../src/access/map-bytes.ts'
import type { Frame } from '../../src/formats/frame-map/frame-map.ts'
import { VarintWriter } from '../../src/formats/varint.ts'
import { seeded } from '../support/random.ts'
import { mapOf } from './frame-maps.ts'

const MIB = 1 << 20
const most = { most: Number.MAX_SAFE_INTEGER }

function varints(...numbers: number[]): Buffer {
  const writer = new VarintWriter()
  writer.add(...numbers)
  return Buffer.from(writer.bytes)
}

/** A map of so many frames that are all alike, which is nowhere as a whole. */
function alike(frames: number, { bytes, contentBytes }: Frame): MapBytes {
  const head = varints(frames)
  const entry = varints(bytes, contentBytes)
  const read = async (offset: number, length: number) => {
    const result = Buffer.alloc(length)
    for (let at = 0; at < length; at++) {
      const place = offset + at
      result[at] = place < head.length ? head[place] : entry[(place - head.length) % entry.length]
    }
    return result
  }
  return { size: head.length + frames * entry.length, read }
}

describe('a map of frames', { timeout: 180_000 }, () => {
  test('finds the frame of every byte, in pages of any size', async () => {
    const random = seeded(3)
    const frames = Array.from({ length: 3_000_000 }, () => ({
      bytes: 8 + Math.floor(random() * 100),
      contentBytes: random() < 0.2 ? 0 : Math.floor(random() * 1000),
    }))
    const table = await FrameTable.read(mapInMemory(mapOf(frames)), { total: most })
    assert.equal(table.frames, frames.length)
    const [starts, contents] = [[0], [0]]
    for (const { bytes, contentBytes } of frames) {
      starts.push(starts.at(-1)! + bytes)
      contents.push(contents.at(-1)! + contentBytes)
    }
    assert.equal(table.contentBytes, contents.at(-1))
    for (let n = 0; n < 2000; n++) {
      const frame = Math.floor(random() * frames.length)
      const { bytes, contentBytes } = frames[frame]
      if (contentBytes === 0) continue
      const place = { frame, start: starts[frame], bytes, content: contents[frame], contentBytes }
      for (const at of [0, contentBytes - 1]) assert.deepEqual(await table.at(contents[frame] + at), place)
    }
  })

  test('gives the frames between two places that have not been compared yet', async () => {
    const frames = Array.from({ length: 200 }, (_, n) => ({ bytes: 10, contentBytes: n % 3 === 0 ? 0 : 5 }))
    const table = await FrameTable.read(mapInMemory(mapOf(frames)), { total: most })
    const doubtful = async (from: number, to: number) => {
      const found: number[] = []
      for await (const place of table.doubtful(from, to)) found.push(place.frame)
      return found
    }
    assert.deepEqual(await doubtful(0, 20), [1, 2, 3, 4, 5, 6])
    table.agree(await table.at(5))
    assert.deepEqual(await doubtful(0, 20), [1, 3, 4, 5, 6])
    assert.deepEqual(await doubtful(20, 20), [])
  })

  for (const [what, frames, frame] of [
    ['an archive of 700 GiB in frames of 32 KiB', 22_000_000, { bytes: 20_000, contentBytes: 32 << 10 }],
    ['one that claims 33 million frames without content', 33_000_000, { bytes: 8, contentBytes: 0 }],
  ] as const) {
    test(`takes little memory: ${what}`, async () => {
      globalThis.gc?.()
      const before = process.memoryUsage.rss()
      const table = await FrameTable.read(alike(frames, frame), { total: { exactly: frames * frame.bytes } })
      assert.equal(table.frames, frames)
      assert.equal(table.contentBytes, frames * frame.contentBytes)
      if (frame.contentBytes > 0) {
        const last = await table.at(table.contentBytes - 1)
        assert.equal(last.frame, frames - 1)
        assert.equal(last.start, (frames - 1) * frame.bytes)
      }
      const growth = process.memoryUsage.rss() - before
      assert.ok(growth < 160 * MIB, `the process has grown by ${growth >> 20} MiB`)
    })
  }

  test('that does not add up is refused', async () => {
    const refused: [Buffer, object][] = [
      [mapOf([{ bytes: 7, contentBytes: 1 }]), {}],
      [mapOf([{ bytes: 10, contentBytes: 1 }]), { total: { exactly: 11 } }],
      [mapOf([{ bytes: 10, contentBytes: 1 }]), { total: { most: 9 } }],
      [mapOf([{ bytes: 10, contentBytes: 1 }]), { checksum: 1 }],
      [Buffer.concat([mapOf([{ bytes: 10, contentBytes: 1 }]), varints(10, 1)]), {}],
      [mapOf([{ bytes: 10, contentBytes: 1 }]).subarray(0, -1), {}],
      [varints(2, ...[10, Number.MAX_SAFE_INTEGER], ...[10, 1]), {}],
    ]
    for (const [bytes, options] of refused)
      await assert.rejects(FrameTable.read(mapInMemory(bytes), { total: most, ...options }), { code: 'DAMAGED' })
  })

  test('is read no further when that is to end', async () => {
    const signal = AbortSignal.timeout(50)
    const run = FrameTable.read(alike(50_000_000, { bytes: 8, contentBytes: 0 }), { total: most, signal })
    await assert.rejects(run, { name: 'TimeoutError' })
  })
})
