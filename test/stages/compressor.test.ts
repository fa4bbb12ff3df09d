import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { planFrames } from '../../src/codecs/frame-plan.ts'
import { Budget } from '../../src/core/budget.ts'
import { Chunk } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { chunksOf, collectBytes, throughBytes } from '../support/bytes.ts'
import { cut, halfCompressible, piped } from '../support/content.ts'
import { itemsOf } from '../support/flow.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000
const MiB = 1 << 20
const METHODS = ['zstd', 'lz4', 'gzip'] as const
const sample = halfCompressible(9 * MiB + 12345)

test('hashes have frames of their own, apart from what readers look up first', {
  ...needs('zstd'),
  timeout,
}, async () => {
  const parts = [0, 1, 2, 2, 1, 0].map((mark, index) => {
    const chunk = new Chunk([Buffer.alloc(1000, index)])
    chunk.lookedUp = mark === 1
    chunk.hashes = mark === 2
    return chunk
  })
  const out = collectBytes()
  await definePipeline([itemsOf('bytes', parts), compressor({ map: false }), out.stage]).run()
  const frames = out.bytes().toString('latin1').split('\x28\xb5\x2f\xfd').length - 1
  assert.equal(frames, 5)
})

for (const method of METHODS) {
  describe(method, () => {
    test('the program takes it, and gives the same bytes', { ...needs(method), timeout }, async () => {
      const compressed = await throughBytes(compressor({ method }), cut(sample, 777_777))
      assert.ok(compressed.length < sample.length * 0.8, `${compressed.length} bytes`)
      piped(method, ['-t'], compressed)
      assert.ok(piped(method, ['-dc'], compressed).equals(sample))
    })

    test('what does not become smaller hardly becomes larger', { ...needs(method), timeout }, async () => {
      const random = randomBytes(5 * MiB + 1)
      const compressed = await throughBytes(compressor({ method }), [random])
      assert.ok(compressed.length < random.length * 1.002, `${compressed.length} bytes`)
      assert.ok(piped(method, ['-dc'], compressed).equals(random))
    })

    test('nothing at all is a frame too', { ...needs(method), timeout }, async () => {
      const compressed = await throughBytes(compressor({ method }), [])
      assert.ok(compressed.length > 0)
      assert.equal(piped(method, ['-dc'], compressed).length, 0)
    })

    test('chunks of many buffers, empty ones and single bytes among them', { ...needs(method), timeout }, async () => {
      const chunks = [
        [sample.subarray(0, 1), sample.subarray(1, 1), sample.subarray(1, 300_000)],
        [],
        cut(sample.subarray(300_000), 99_999),
      ]
      const compressed = await throughBytes(compressor({ method }), chunks)
      assert.ok(piped(method, ['-dc'], compressed).equals(sample))
    })

    test('bytes are bounded however slow the sink is', { timeout }, async () => {
      const budget = 24 * MiB
      const output = collectBytes({ drop: true, onChunk: () => sleep(20) })
      const seen: number[] = []
      const source = (async function* () {
        for (let index = 0; index < 12; index++) {
          seen.push(index)
          yield randomBytes(3 * MiB)
        }
      })()
      const { highWater } = await definePipeline([chunksOf(source), compressor({ method }), output.stage]).run({
        buffer: budget,
      })
      assert.equal(seen.length, 12)
      assert.ok(highWater <= budget)
    })
  })
}

test('every level of zstd that is offered works, and others are refused', { ...needs('zstd'), timeout }, async () => {
  const small = sample.subarray(0, 200_000)
  for (const level of [-7, -1, 1, 9, 19]) {
    assert.ok(piped('zstd', ['-dc'], await throughBytes(compressor({ method: 'zstd', level }), [small])).equals(small))
  }
  for (const level of [-8, 0, 20, 1.5]) assert.throws(() => compressor({ level }), { code: 'USAGE', message: /level/ })
  assert.throws(() => compressor({ method: 'gzip', level: 10 }), { message: /1 to 9, got 10/ })
  assert.throws(() => compressor({ method: 'lz4', level: 1 }), { code: 'USAGE' })
})

test('a higher level makes it smaller', { timeout }, async () => {
  const sizes: number[] = []
  for (const level of [-5, 3, 12])
    sizes.push((await throughBytes(compressor({ level }), [sample.subarray(0, MiB)])).length)
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => b - a),
  )
  assert.ok(sizes[0] > sizes[2])
})

test('a zstd frame declares its size and carries a checksum', { ...needs('zstd'), timeout }, async () => {
  const compressed = await throughBytes(compressor(), [sample.subarray(0, 3 * MiB)])
  // Frame_Header_Descriptor: content size in 4 bytes, single segment or not, checksum
  assert.equal(compressed[4] & 0xc4, 0x84)
})

test('whole chunks go into a frame as long as they fit', { timeout }, async () => {
  const frames: number[] = []
  const output = collectBytes({ onChunk: (chunk) => void frames.push(chunk.byteLength) })
  // 3 + 3 do not fit into 4; 1 + 1 + 1 do
  const chunks = [3, 3, 1, 1, 1].map((size) => halfCompressible(size * MiB, size))
  await definePipeline([chunksOf(chunks), compressor({ frame: 4 * MiB, map: false }), output.stage]).run()
  assert.equal(frames.length, 3)
})

test('frames are independent: any one of them decompresses alone', { ...needs('zstd'), timeout }, async () => {
  const frames: Buffer[] = []
  const output = collectBytes({ onChunk: (chunk) => void frames.push(Buffer.concat(chunk.buffers)) })
  const pieces = cut(sample, 300_000)
  await definePipeline([chunksOf(pieces), compressor({ frame: 300_000, map: false }), output.stage]).run()
  assert.equal(frames.length, pieces.length)
  for (const index of [7, 0, 3]) assert.ok(piped('zstd', ['-dc'], frames[index]).equals(pieces[index]))
})

test('none passes everything on as it is', { timeout }, async () => {
  const chunks = cut(sample, MiB)
  const seen: Uint8Array[] = []
  const output = collectBytes({ drop: true, onChunk: (chunk) => void seen.push(...chunk.buffers) })
  await definePipeline([chunksOf(chunks), compressor({ method: 'none' }), output.stage]).run()
  assert.ok(chunks.every((chunk, index) => chunk === seen[index]))
})

test('an abort ends it, also while the sink stands still', { timeout }, async () => {
  const controller = new AbortController()
  const output = collectBytes({
    onChunk: async () => {
      controller.abort()
      await sleep(50)
    },
  })
  const endless = (async function* () {
    for (;;) yield sample.subarray(0, MiB)
  })()
  const running = definePipeline([chunksOf(endless), compressor(), output.stage]).run({ signal: controller.signal })
  await assert.rejects(running, { code: 'ABORTED' })
})

test('an error of the sink ends it', { timeout }, async () => {
  const output = collectBytes({ onChunk: () => Promise.reject(new Error('full')) })
  const endless = (async function* () {
    for (;;) yield sample.subarray(0, MiB)
  })()
  await assert.rejects(definePipeline([chunksOf(endless), compressor({ method: 'lz4' }), output.stage]).run(), {
    message: 'full',
    stage: 'collect',
  })
})

test('a frame of more than 1 GiB is refused', () => {
  assert.throws(() => compressor({ frame: 2 ** 30 + 1 }), { message: /at most 1\.0 GiB/ })
})

test('frames that nobody has chosen become smaller before a processor has none, and not smaller than 1 MiB', () => {
  const same = (bytes: number) => bytes
  const planned = (threads: number, buffer = 64) => planFrames(new Budget(buffer * MiB), 4 * MiB, threads, same, MiB)
  assert.deepEqual(planned(2), { frameSize: 4 * MiB, inFlight: 4 })
  assert.deepEqual(planned(4), { frameSize: 4 * MiB, inFlight: 5 })
  assert.deepEqual(planned(8), { frameSize: 2 * MiB, inFlight: 10 })
  assert.deepEqual(planned(16), { frameSize: MiB, inFlight: 18 })
  assert.deepEqual(planned(64), { frameSize: MiB, inFlight: 23 })
  assert.deepEqual(planned(16, 256), { frameSize: 4 * MiB, inFlight: 18 })
})

test('by default a full extent is one frame', { timeout }, async () => {
  const frames: number[] = []
  const output = collectBytes({ onChunk: (chunk) => void frames.push(chunk.byteLength) })
  const extents = Array.from({ length: 3 }, () => Buffer.alloc(58 * 65536 + 512, 1))
  await definePipeline([chunksOf(extents), compressor({ map: false }), output.stage]).run({ threads: 2 })
  assert.equal(frames.length, 3)
})

test('frames become fewer, then smaller, if memory is short', () => {
  const same = (bytes: number) => bytes
  assert.deepEqual(planFrames(new Budget(64 * MiB), 4 * MiB, 2, same), { frameSize: 4 * MiB, inFlight: 4 })
  assert.deepEqual(planFrames(new Budget(64 * MiB), 4 * MiB, 32, same), { frameSize: 4 * MiB, inFlight: 5 })
  assert.deepEqual(planFrames(new Budget(1024 * MiB), 4 * MiB, 32, same), { frameSize: 4 * MiB, inFlight: 34 })
  assert.deepEqual(planFrames(new Budget(16 * MiB), 4 * MiB, 2, same), { frameSize: MiB, inFlight: 3 })
  // No number of 32 bits.
  assert.deepEqual(planFrames(new Budget(16 * MiB), 2 ** 42, 2, same), { frameSize: MiB, inFlight: 3 })
})
