import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { constants, zstdCompressSync } from 'node:zlib'
import type { DecoderContext } from '../../../src/codecs/decoder-context.ts'
import { OrderedTasks } from '../../../src/codecs/ordered-tasks.ts'
import { byLibzstd, byZlib, type LargeFrame } from '../../../src/codecs/zstd/large-frame.ts'
import { libzstd } from '../../../src/codecs/zstd/libzstd.ts'
import { Budget } from '../../../src/core/budget.ts'

const MIB = 1 << 20

const native = libzstd()
assert.ok(native, 'Node exports libzstd')
const WAYS: [string, (context: DecoderContext, frame: LargeFrame) => Promise<number>][] = [
  ['libzstd', (context, frame) => byLibzstd(context, frame, native)],
  ["Node's zlib", byZlib],
]

/** Half of it compresses well. */
const content = Buffer.concat([randomBytes(3 * MIB), Buffer.alloc(3 * MIB, 'abcdefg'), randomBytes(1234)])
const whole = zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })

/** Decodes a frame that comes in pieces of this size. */
async function decoded(way: (typeof WAYS)[0][1], frame: Buffer, piece: number, windowLog = 27) {
  const outputs = new Budget(8 * MIB)
  const pieces: Buffer[] = []
  const order = new OrderedTasks(3, (chunk) => {
    assert.ok(chunk.byteLength <= MIB)
    pieces.push(...chunk.buffers.map((bytes) => Buffer.from(bytes)))
    chunk.release()
  })
  const back: Buffer[] = []
  let at = 0
  /** Two buffers in turn, as the caller has them: what was given before must not be used any more. */
  const buffers = [Buffer.alloc(piece), Buffer.alloc(piece)]
  const next = async () => {
    if (at >= frame.length) return null
    buffers.reverse()
    const taken = frame.copy(buffers[0], 0, at, at + piece)
    at += taken
    return buffers[0].subarray(0, taken)
  }
  const context = { order, outputs } as unknown as DecoderContext
  const result = await way(context, { windowLog, offset: 77, next, giveBack: (bytes) => back.push(bytes) }).then(
    (length) => ({ length, error: null }),
    (error) => ({ length: -1, error }),
  )
  await order.drain()
  assert.equal(outputs.used, 0)
  return { ...result, content: Buffer.concat(pieces), used: at - Buffer.concat(back).length }
}

for (const [name, way] of WAYS)
  describe(`a large zstd frame by ${name}`, () => {
    for (const piece of [1000, 128 << 10, MIB, 100 * MIB])
      test(`comes out whole from pieces of ${piece} bytes`, async () => {
        const result = await decoded(way, whole, piece)
        assert.equal(result.error, null)
        assert.equal(result.length, content.length)
        assert.ok(result.content.equals(content))
      })

    test('may be empty, or end where a piece of content ends', async () => {
      for (const size of [0, 1, MIB, 2 * MIB]) {
        const bytes = randomBytes(size)
        const result = await decoded(way, zstdCompressSync(bytes), 65_536)
        assert.equal(result.error, null)
        assert.ok(result.content.equals(bytes), `${size} bytes`)
      }
    })

    test('gives what came before damage, and then an error with its place', async () => {
      const broken = Buffer.from(whole)
      broken.fill(0, 2 * MIB, 2 * MIB + 4096)
      const { error, content: before } = await decoded(way, broken, 65_536)
      assert.equal(error.code, 'DAMAGED')
      assert.deepEqual(error.where, { offset: 77 })
      assert.match(error.message, /a zstd frame cannot be decoded/)
      assert.ok(before.length >= MIB, `${before.length} bytes before it`)
      assert.ok(before.subarray(0, MIB).equals(content.subarray(0, MIB)))
    })

    test('is refused if its checksum is wrong, it is cut, or it goes on', async () => {
      const wrong = Buffer.from(whole)
      wrong[wrong.length - 1] ^= 1
      for (const frame of [wrong, whole.subarray(0, -10), Buffer.concat([whole, Buffer.from('more')])]) {
        const { error } = await decoded(way, frame, 100_000)
        assert.equal(error?.code, 'DAMAGED')
      }
    })

    test('is refused if it needs a larger window than is allowed', async () => {
      const params = { [constants.ZSTD_c_windowLog]: 22, [constants.ZSTD_c_compressionLevel]: 3 }
      const frame = zstdCompressSync(content, { params })
      const { error } = await decoded(way, frame, MIB, 20)
      assert.equal(error.code, 'DAMAGED')
      assert.equal((await decoded(way, frame, MIB, 23)).error, null)
    })
  })

test('libzstd gives back what it has read ahead of damage', async () => {
  const broken = Buffer.from(whole)
  broken.fill(0, 2 * MIB, 2 * MIB + 4096)
  const { used } = await decoded(WAYS[0][1], broken, 65_536)
  assert.ok(used <= 2 * MIB + 4096 + 2 * 65_536, `${used} bytes used`)
})
