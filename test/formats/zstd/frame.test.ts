import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeZstdBlock, decodeZstdHeader, zstdHeaderLength } from '../../../src/formats/zstd/frame.ts'

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
