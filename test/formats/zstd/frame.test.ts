import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, zstdCompressSync } from 'node:zlib'
import {
  decodeZstdBlock,
  decodeZstdHeader,
  readZstdHeader,
  ZstdParts,
  zstdHeaderLength,
} from '../../../src/formats/zstd/frame.ts'

const header = (hex: string) => decodeZstdHeader(Buffer.from(`28b52ffd${hex}`, 'hex'), 77)

test('a header in one segment declares its content in one byte', () => {
  assert.deepEqual(header('2005'), { length: 6, windowSize: 5, contentSize: 5, checksum: false })
})

test('the two-byte content size counts from 256', () => {
  assert.deepEqual(header('640001'), { length: 7, windowSize: 512, contentSize: 512, checksum: true })
})

test('four and eight bytes of content size', () => {
  assert.deepEqual(header('a400004000'), { length: 9, windowSize: 1 << 22, contentSize: 1 << 22, checksum: true })
  assert.deepEqual(header('c0580000000001000000'), {
    length: 14,
    windowSize: 1 << 21,
    contentSize: 2 ** 32,
    checksum: false,
  })
})

test('a window without a content size, as a pipe of the zstd program has it', () => {
  assert.deepEqual(header('0458'), { length: 6, windowSize: 1 << 21, contentSize: undefined, checksum: true })
  assert.equal(header('0459').windowSize, (1 << 21) + (1 << 18))
  assert.equal(header('00ff').windowSize, 2 ** 41 + (2 ** 41 / 8) * 7)
})

test('the length of a header follows from its descriptor', () => {
  assert.deepEqual([0x00, 0x20, 0x40, 0x80, 0xc0, 0xe3, 0xc3].map(zstdHeaderLength), [6, 6, 8, 10, 14, 17, 18])
})

test('a dictionary is refused, unless it is number 0', () => {
  assert.throws(() => header('01580c'), { code: 'DAMAGED', message: /dictionary/, where: { offset: 77 } })
  assert.equal(header('015800').length, 7)
})

test('undefined flags and impossible sizes are refused', () => {
  assert.throws(() => header('0858'), { code: 'DAMAGED', message: /flag/ })
  assert.throws(() => header('e0ffffffffffffff7f'), { code: 'DAMAGED', message: /2\^53/ })
})

test('block headers tell how far it is to the next, and how much there can be', () => {
  const block = (hex: string) => decodeZstdBlock(Buffer.from(hex, 'hex'), 5)
  assert.deepEqual(block('290000'), { last: true, length: 3 + 5, most: 5 }) // raw, 5 bytes
  assert.deepEqual(block('020010'), { last: false, length: 3 + 1, most: 128 << 10 }) // RLE: one byte for 131072
  assert.deepEqual(block('240000'), { last: false, length: 3 + 4, most: 128 << 10 }) // compressed
  assert.deepEqual(block('000010'), { last: false, length: 3 + (128 << 10), most: 128 << 10 })
  assert.throws(() => block('060000'), { code: 'DAMAGED', where: { offset: 5 } }) // reserved
  assert.throws(() => block('080010'), { code: 'DAMAGED', where: { offset: 5 } }) // 131073 bytes
})

/** The lengths of a frame's parts, as a reader finds them. */
function partsOf(frame: Buffer): number[] {
  const header = readZstdHeader(frame, 0)!
  const lengths = [header.length]
  const parts = new ZstdParts(header)
  for (let at = header.length; !parts.ended; at += lengths.at(-1)!)
    lengths.push(parts.next(frame.subarray(at, at + parts.needed), at))
  return lengths
}

test('a header that is cut short is null, one that is whole is decoded with any bytes behind it', () => {
  const frame = zstdCompressSync(Buffer.alloc(1000, 'a'))
  assert.equal(readZstdHeader(frame.subarray(0, 4), 0), null)
  assert.equal(readZstdHeader(frame.subarray(0, 5), 0), null)
  assert.deepEqual(readZstdHeader(frame, 0), decodeZstdHeader(frame, 0))
})

test('the parts of a frame end where the frame ends, with and without a checksum', () => {
  for (const checksum of [0, 1]) {
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * at) >>> 7))
    const frame = zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: checksum } })
    const lengths = partsOf(frame)
    assert.equal(
      lengths.reduce((sum, length) => sum + length, 0),
      frame.length,
    )
    assert.ok(lengths.length >= 4)
    assert.equal(lengths.at(-1) === 4, checksum === 1)
  }
})

test('the blocks so far bound the content', () => {
  const parts = new ZstdParts({ checksum: false })
  parts.next(Buffer.from('280000', 'hex'), 0)
  assert.deepEqual([parts.mostContent, parts.ended], [5, false])
  parts.next(Buffer.from('030010', 'hex'), 0)
  assert.deepEqual([parts.mostContent, parts.ended], [5 + (128 << 10), true])
})
