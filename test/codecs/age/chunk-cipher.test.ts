import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { byLibcrypto, byNode, type ChunkCipher } from '../../../src/codecs/age/chunk-cipher.ts'
import { CHUNK, TAG } from '../../../src/formats/age/payload.ts'

const key = randomBytes(32)
/** Of content: the only chunk of an empty payload has none, and the cipher works in blocks of 64. */
const SIZES = [0, 1, 63, 64, 65, 4096, CHUNK - 1, CHUNK]

const libcrypto = byLibcrypto()
assert.ok(libcrypto, 'Node exports libcrypto')
const ciphers: [string, ChunkCipher, ChunkCipher][] = [
  ['libcrypto', libcrypto, byNode],
  ['Node', byNode, libcrypto],
]

/** Content, and the chunk that the cipher makes of it. */
function sealedBy(cipher: ChunkCipher, size: number, index = 7, isLast = false) {
  const content = randomBytes(size)
  const chunk = Buffer.concat([content, Buffer.alloc(TAG)])
  cipher.seal(key, index, isLast, chunk)
  return { content, chunk }
}

for (const [name, cipher, other] of ciphers)
  describe(`the cipher of ${name}`, () => {
    for (const size of SIZES)
      test(`seals ${size} bytes in place, which both open`, () => {
        for (const reader of [cipher, other]) {
          const { content, chunk } = sealedBy(cipher, size, 2 ** 33, true)
          if (size > 0) assert.notDeepEqual(chunk.subarray(0, size), content)
          assert.equal(reader.open(key, 2 ** 33, true, chunk), true)
          assert.deepEqual(chunk.subarray(0, size), content)
        }
      })

    test('leaves a chunk as it is that it cannot open', () => {
      const { chunk } = sealedBy(other, 5000)
      const changed = Buffer.from(chunk)
      changed[1234] ^= 1
      const noTag = Buffer.from(chunk)
      noTag[5000] ^= 1
      const attempts: [Buffer, Buffer, number, boolean][] = [
        [changed, key, 7, false],
        [noTag, key, 7, false],
        [chunk, randomBytes(32), 7, false],
        [chunk, key, 8, false],
        [chunk, key, 7, true],
      ]
      for (const [bytes, wanted, index, isLast] of attempts) {
        const before = Buffer.from(bytes)
        assert.equal(cipher.open(wanted, index, isLast, bytes), false)
        assert.deepEqual(bytes, before)
      }
      assert.equal(cipher.open(key, 7, false, chunk), true)
    })

    test('takes memory that begins within other memory', () => {
      const memory = new Uint8Array(1000).fill(9)
      const chunk = memory.subarray(100, 900)
      cipher.seal(key, 0, false, chunk)
      assert.ok(memory.subarray(0, 100).every((byte) => byte === 9))
      assert.ok(memory.subarray(900).every((byte) => byte === 9))
      assert.equal(other.open(key, 0, false, chunk), true)
      assert.ok(chunk.subarray(0, -TAG).every((byte) => byte === 9))
    })
  })
