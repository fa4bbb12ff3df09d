import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FrameTable } from '../../src/access/frame-table.ts'
import type { FrameEncoder } from '../../src/codecs/frame-encoder.ts'
import { walkFrames } from '../../src/codecs/frame-walk.ts'
import { gzipEncoder } from '../../src/codecs/gzip/encoder.ts'
import { lz4Encoder } from '../../src/codecs/lz4/encoder.ts'
import { declaredContent, decodeFrame } from '../../src/codecs/whole-frame.ts'
import { zstdEncoder } from '../../src/codecs/zstd/encoder.ts'
import type { ArchiveBytes } from '../../src/storage/archive/archive-bytes.ts'

const CONTENTS = [200_000, 1, 70_000, 65_536].map((bytes, seed) =>
  Buffer.from(Array.from({ length: bytes }, (_, at) => (at * (seed + 7)) >>> 5)),
)

function inMemory(file: Buffer): ArchiveBytes {
  return {
    size: file.length,
    read: async (buffer, offset) => void file.copy(buffer, 0, offset, offset + buffer.byteLength),
    close: async () => {},
  }
}

async function encoded(encoder: FrameEncoder): Promise<Buffer[]> {
  const frames: Buffer[] = []
  for (const content of CONTENTS) {
    const frame = Buffer.alloc(encoder.bound(content.length))
    frames.push(frame.subarray(0, await encoder.encode(content, frame)))
  }
  encoder.close?.()
  return frames
}

/** Bytes and content of each frame that is found, and the problem that ended the walk. */
async function walked(file: Buffer) {
  const { map, problem } = await walkFrames(inMemory(file))
  const table = await FrameTable.inMemory(map, file.length)
  const frames: [number, number][] = []
  for (let at = 0; at < table.contentBytes; ) {
    const { bytes, contentBytes } = await table.at(at)
    frames.push([bytes, contentBytes])
    at += contentBytes
  }
  return { frames, problem }
}

const ENCODERS = { zstd: () => zstdEncoder(3), lz4: lz4Encoder, gzip: () => gzipEncoder(6) }

for (const [format, encoder] of Object.entries(ENCODERS)) {
  describe(`frames of ${format}`, { timeout: 60_000 }, () => {
    test('are found from one to the next, and have the content that they declare', async () => {
      const frames = await encoded(encoder())
      const file = Buffer.concat(frames)
      const found = await walked(file)
      assert.equal(found.problem, null)
      assert.deepEqual(
        found.frames,
        frames.map((frame, at) => [frame.length, CONTENTS[at].length]),
      )
      let offset = 0
      for (const [at, frame] of frames.entries()) {
        assert.equal(await declaredContent(inMemory(file), offset, frame.length), CONTENTS[at].length)
        const content = Buffer.alloc(CONTENTS[at].length)
        await decodeFrame(Buffer.from(frame), content, offset)
        assert.ok(content.equals(CONTENTS[at]))
        offset += frame.length
      }
    })

    test('are found up to the one that is cut', async () => {
      const frames = await encoded(encoder())
      const file = Buffer.concat(frames)
      const { frames: found, problem } = await walked(file.subarray(0, -9))
      assert.equal(found.length, frames.length - 1)
      assert.deepEqual([problem?.code, problem?.where.offset], ['INCOMPLETE', file.length - 9])
    })
  })
}

test('a block that claims to be larger than its frame allows ends the walk, and is damage', async () => {
  const frames = await encoded(lz4Encoder())
  frames[2] = Buffer.from(frames[2])
  frames[2].writeUInt32LE(262_145, 15)
  const { frames: found, problem } = await walked(Buffer.concat(frames))
  assert.equal(found.length, 2)
  assert.match(problem?.line ?? '', /an LZ4 block claims to be 262145 bytes long/)
  await assert.rejects(decodeFrame(frames[2], Buffer.alloc(70_000), 0), { code: 'DAMAGED' })
})
