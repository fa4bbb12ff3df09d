import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import lz4 from 'lz4-napi'
import { decodeLz4Block } from '../../../src/formats/lz4/block.ts'

/** As lz4-napi makes it, without the size before it. */
const compress = (content: Buffer, history?: Buffer) => lz4.compressSync(content, history).subarray(4)

/** Content that has matches of all kinds: near, far, overlapping and long. */
const content = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 300 })), { maxLength: 20 })
  .map((parts) => Buffer.concat(parts.flatMap(([bytes, times]) => new Array(times).fill(bytes))))

test('the plain code decodes what lz4-napi has made', () => {
  fc.assert(fc.property(content, (bytes) => assert.deepEqual(decodeLz4Block(compress(bytes), bytes.length), bytes)))
})

test('linked blocks refer to the content before them', () => {
  fc.assert(
    fc.property(content, content, (before, bytes) => {
      const history = before.subarray(-65_536)
      assert.deepEqual(decodeLz4Block(compress(bytes, history), bytes.length, history), bytes)
    }),
  )
})

test('any bytes are content within the limit, or an error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        assert.ok(decodeLz4Block(bytes, 1000).length <= 1000)
      } catch (error) {
        assert.match((error as Error).message, /^the block .* at its byte \d+$/)
      }
    }),
    { numRuns: 5000 },
  )
})
