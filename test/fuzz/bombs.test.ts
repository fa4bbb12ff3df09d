import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { xxh32 } from '@node-rs/xxhash'
import fc from 'fast-check'
import { VmapipeError } from '../../src/core/errors.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { MEMBER_HEADER_SIZE } from '../../src/formats/gzip/member.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { chunksOf, collectBytes } from '../support/bytes.ts'
import { cut } from '../support/content.ts'
import { attempt, fuzz } from './fuzz.ts'

const MIB = 1 << 20
const BUDGET = 40 * MIB
/** Besides the budget: the largest window of a zstd frame, and memory of codecs that is freed a little later. */
const GROWTH = BUDGET + 320 * MIB

function bytesOf(bits: 16 | 32 | 64, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
  return bytes.subarray(0, bits / 8)
}

/** What a frame says of the size of its content, by what it really is. */
const claim = fc.constantFrom<(size: number) => number>(
  (size) => size,
  (size) => size + 1,
  (size) => Math.max(0, size - 1),
  () => 0,
  () => 1,
  (size) => size * 1000,
  () => 2 ** 32 - 1,
  () => 2 ** 52,
  () => -1,
)

/** `build` makes the archive of what was chosen: a choice is short to print, its archive is not. */
function bombs<T>(name: string, choices: fc.Arbitrary<T>, build: (choice: T) => Buffer): void {
  fuzz(
    `a bomb of ${name} comes out in pieces or is refused, whatever it says of itself`,
    fc.record({ choice: choices, piece: fc.constantFrom(MIB, 65_536, 1000) }),
    ({ choice, piece }) => explode(cut(build(choice), piece)),
    { growth: GROWTH },
  )
}

async function explode(chunks: Uint8Array[]): Promise<void> {
  let most = 0
  const output = collectBytes({
    drop: true,
    onChunk: ({ byteLength }) => {
      most = Math.max(most, byteLength)
    },
  })
  const run = () => definePipeline([chunksOf(chunks), decompressor(), output.stage]).run({ buffer: BUDGET })
  // FAILED: a window that is not allowed.
  const result = await attempt(run, 'DAMAGED', 'INCOMPLETE', 'FAILED')
  assert.ok(most <= 8 * MIB, `${most} bytes in a piece`)
  if (result instanceof VmapipeError) return
  assert.equal(result.leaked, 0)
  assert.ok(result.highWater <= BUDGET, `${result.highWater} bytes at once`)
}

/** Blocks of 128 KiB that are one byte each: 1 to 40,000. */
bombs(
  'zstd',
  fc.record({
    blocks: fc.integer({ min: 0, max: 2048 }),
    window: fc.option(fc.integer({ min: 0, max: 255 })),
    claim: fc.option(claim),
  }),
  ({ blocks, window, claim }) => {
    const size = blocks * 131_072
    // Frame_Content_Size of 8 bytes or none; Single_Segment where there is no window (RFC 8878, 3.1.1.1).
    const descriptor = (claim === null && window !== null ? 0 : 0xc0) | (window === null ? 0x20 : 0)
    const declared = descriptor & 0xc0 ? bytesOf(64, (claim ?? ((size) => size))(size)) : Buffer.alloc(0)
    const head = [
      Buffer.from('28b52ffd', 'hex'),
      Buffer.of(descriptor),
      Buffer.of(...(window === null ? [] : [window])),
    ]
    const block = (last: number) => Buffer.concat([bytesOf(32, (131_072 << 3) | 2 | last).subarray(0, 3), Buffer.of(7)])
    const all = Array.from({ length: blocks }, () => block(0))
    return Buffer.concat([...head, declared, ...all, Buffer.from('010000', 'hex')])
  },
)

/** A block of an LZ4 frame that holds `size` zeroes in a 255th of that (lz4_Block_format.md). */
function lz4Block(size: number): Buffer {
  const more = size - 25
  const lengths = Buffer.alloc(Math.floor(more / 255) + 1, 255)
  lengths[lengths.length - 1] = more % 255
  return Buffer.concat([Buffer.from('1f000100', 'hex'), lengths, Buffer.from('500000000000', 'hex')])
}

const lz4Blocks = new Map([16, 18, 20, 22].map((bits) => [bits, lz4Block(2 ** bits)]))

bombs(
  'LZ4',
  fc.record({
    blocks: fc.integer({ min: 0, max: 300 }),
    declared: fc.constantFrom(4, 5, 6, 7),
    real: fc.constantFrom(16, 18, 20, 22),
    linked: fc.boolean(),
    claim: fc.option(claim),
    length: fc.option(fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 4 * MIB + 1)),
  }),
  ({ blocks, declared, real, linked, claim, length }) => {
    const block = lz4Blocks.get(real)!
    const count = Math.min(blocks, 2 ** (28 - real))
    const flags = 0x40 | (linked ? 0 : 0x20) | (claim === null ? 0 : 0x08)
    const size = claim === null ? [] : [bytesOf(64, claim(count * 2 ** real))]
    const descriptor = Buffer.concat([Buffer.of(flags, declared << 4), ...size])
    const check = Buffer.of((xxh32(descriptor) >>> 8) & 0xff)
    const one = Buffer.concat([bytesOf(32, block.length), block])
    const odd = length === null ? [] : [bytesOf(32, length), block]
    const all = Array.from({ length: count }, () => one)
    return Buffer.concat([Buffer.from('04224d18', 'hex'), descriptor, check, ...all, ...odd, bytesOf(32, 0)])
  },
)

bombs(
  'lz4 -l',
  fc.record({ blocks: fc.integer({ min: 1, max: 24 }), size: fc.constantFrom(8 * MIB, 8 * MIB + 1, 16 * MIB, 100) }),
  ({ blocks, size }) => {
    const block = lz4Block(size)
    const one = Buffer.concat([bytesOf(32, block.length), block])
    return Buffer.concat([Buffer.from('02214c18', 'hex'), ...Array.from({ length: blocks }, () => one)])
  },
)

const members = new Map([0, 1, 8, 100].map((size) => [size, gzipSync(Buffer.alloc(size * MIB))]))

/** Members as ours, that tell their length and may lie about it, and as others make them. */
bombs(
  'gzip',
  fc.record({
    size: fc.constantFrom(...members.keys()),
    ours: fc.option(claim),
    claim: fc.option(claim),
    times: fc.integer({ min: 1, max: 3 }),
  }),
  ({ size, ours, claim, times }) => {
    const plain = members.get(size)!
    const body = plain.subarray(10, -8)
    const length = MEMBER_HEADER_SIZE + body.length + 8
    const head = Buffer.concat([
      Buffer.from('1f8b08040000000000ff080056500400', 'hex'),
      bytesOf(32, (ours ?? ((n) => n))(length)),
    ])
    const isize = bytesOf(32, (claim ?? ((n) => n))(size * MIB))
    const member = Buffer.concat([ours === null ? plain.subarray(0, 10) : head, body, plain.subarray(-8, -4), isize])
    return Buffer.concat(Array.from({ length: times }, () => member))
  },
)
