import assert from 'node:assert/strict'
import { test } from 'node:test'
import { xxh32 } from '@node-rs/xxhash'
import {
  decodeLz4BlockSize,
  decodeLz4Header,
  encodeLz4Header,
  encodeLz4Trailer,
  isOurLz4,
  lz4HeaderLength,
  readLz4Header,
} from '../../../src/formats/lz4/frame.ts'

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex')

/** A header of these descriptor bytes, with the checksum that belongs to them. */
function described(hex: string): Buffer {
  const descriptor = bytes(hex)
  return Buffer.concat([bytes('04224d18'), descriptor, Buffer.from([(xxh32(descriptor) >>> 8) & 0xff])])
}

test('the header that the lz4 program writes', () => {
  // `lz4 -B4` of version 1.9.4: independent blocks of up to 64 KiB, content checksum
  assert.deepEqual(decodeLz4Header(bytes('04224d18 64 40 a7'), 0), {
    length: 7,
    blockSize: 64 << 10,
    independent: true,
    blockChecksums: false,
    contentChecksum: true,
    contentSize: undefined,
  })
})

test('ours declares independent blocks of 64 KiB, content size and checksum', () => {
  const header = encodeLz4Header(0x123456)
  assert.equal(header.subarray(0, 14).toString('hex'), '04224d186c405634120000000000')
  assert.deepEqual(decodeLz4Header(header, 0), {
    length: 15,
    blockSize: 64 << 10,
    independent: true,
    blockChecksums: false,
    contentChecksum: true,
    contentSize: 0x123456,
  })
})

test('the trailer is the end mark and the checksum', () => {
  assert.equal(encodeLz4Trailer(0x04030201).toString('hex'), '0000000001020304')
})

test('block sizes, linked blocks and block checksums', () => {
  const sizes = ['40', '50', '60', '70'].map((bd) => decodeLz4Header(described(`40${bd}`), 0).blockSize)
  assert.deepEqual(sizes, [64 << 10, 256 << 10, 1 << 20, 4 << 20])
  const { independent, blockChecksums, contentChecksum } = decodeLz4Header(described('5070'), 0)
  assert.deepEqual([independent, blockChecksums, contentChecksum], [false, true, false])
})

test('the length of a header follows from its flags', () => {
  const lengths = ['40', '48', '41', '49'].map((flags) => lz4HeaderLength(bytes(`04224d18${flags}`)))
  assert.deepEqual(lengths, [7, 15, 11, 19])
})

test('each thing that is wrong with a header is said', () => {
  const refused = (header: Buffer, message: RegExp) =>
    assert.throws(() => decodeLz4Header(header, 9), { code: 'DAMAGED', message, where: { offset: 9 } })
  refused(bytes('04224d18 64 40 a8'), /checksum/)
  refused(described('8040'), /version 2/)
  refused(described('4240'), /flags/)
  refused(described('4041'), /flags/)
  refused(described('4030'), /block size 3/)
  refused(described('4140 00000000'), /dictionary/)
  refused(described('4840 ffffffffffffffff'), /claims to hold/)
})

test('a header that is cut short is null, one that is whole is decoded with any bytes behind it', () => {
  const header = encodeLz4Header(5)
  assert.equal(readLz4Header(header.subarray(0, 4), 0), null)
  assert.equal(readLz4Header(header.subarray(0, 14), 0), null)
  assert.deepEqual(readLz4Header(Buffer.concat([header, bytes('ffff')]), 0), decodeLz4Header(header, 0))
})

test('a frame is of our kind if it has small independent blocks and only a checksum of the whole content', () => {
  assert.ok(isOurLz4(decodeLz4Header(encodeLz4Header(5), 0)))
  const kinds = ['4440', '6460', '7440', '6040', '6440', '6450'].map((flags) =>
    isOurLz4(decodeLz4Header(described(flags), 0)),
  )
  assert.deepEqual(kinds, [false, false, false, false, true, true])
})

test('the size before a block says whether it is stored; zero ends the frame; more than a block is damage', () => {
  const size = (field: string) => decodeLz4BlockSize(bytes(field), { blockSize: 1 << 16 }, 9)
  assert.deepEqual(size('05000000'), { stored: false, length: 5 })
  assert.deepEqual(size('00000180'), { stored: true, length: 1 << 16 })
  assert.equal(size('00000000'), null)
  assert.throws(() => size('01000100'), { code: 'DAMAGED', message: /65537 bytes/, where: { offset: 9 } })
})
