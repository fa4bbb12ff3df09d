/** One whole frame to its content, which is exactly as long as was said. Everything is in memory already. */

import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import { xxh32 } from '@node-rs/xxhash'
import { VmapipeError } from '../core/errors.ts'
import { type Format, MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import {
  decodeLz4Header,
  END_MARK,
  LZ4_HEADER_LIMIT,
  lz4HeaderLength,
  OUR_BLOCK_SIZE,
  STORED,
} from '../formats/lz4/frame.ts'
import {
  decodeZstdBlock,
  decodeZstdHeader,
  ZSTD_BLOCK_HEADER_SIZE,
  ZSTD_CHECKSUM_SIZE,
  zstdHeaderLength,
} from '../formats/zstd/frame.ts'
import { damagedFrame } from '../stages/compression/engine.ts'
import { decodeBlock, free, type Lz4Block, PREFIX } from '../stages/compression/lz4-block.ts'
import { zstdFrames } from '../stages/compression/zstd-frames.ts'

/** Gives `contentBytes` bytes, in memory of its own. `frame` may be written into. Throws DAMAGED; `offset` is where the frame is. */
export type FrameCodec = (frame: Buffer, contentBytes: number, offset: number) => Promise<Buffer>

const CODECS: Partial<Record<Format, { name: string; decode: FrameCodec }>> = {
  zstd: { name: 'zstd', decode: decodeZstd },
  lz4: { name: 'LZ4', decode: decodeLz4 },
  gzip: { name: 'gzip', decode: decodeGzip },
}

/** Whatever kind of frame it is. */
export async function decodeFrame(frame: Buffer, contentBytes: number, offset: number): Promise<Buffer> {
  const codec = CODECS[recognise(frame.subarray(0, MAGIC_LIMIT)) ?? 'vma']
  if (codec === undefined) throw new VmapipeError('DAMAGED', 'no compressed frame begins here', { offset })
  let content: Buffer
  try {
    content = await codec.decode(frame, contentBytes, offset)
  } catch (error) {
    throw damagedFrame(codec.name, error, offset)
  }
  if (content.length === contentBytes) return content
  throw damaged(codec.name, `should hold ${contentBytes} bytes and holds ${content.length}`, offset)
}

function damaged(format: string, what: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `a ${format} frame ${what}`, { offset })
}

/** So much content is decoded in the calling thread: in less than the trip to another one takes. */
const SMALL = 128 << 10

const unzstd = promisify(zstdDecompress)
const ungzip = promisify(gunzip)

/** One byte more than needed, so that zlib does not allocate a second buffer. */
function settings(contentBytes: number) {
  return { chunkSize: Math.max(64, contentBytes + 1), maxOutputLength: Math.max(1, contentBytes) }
}

async function decodeZstd(frame: Buffer, contentBytes: number, offset: number): Promise<Buffer> {
  if (zstdFrameLength(frame, offset) !== frame.length)
    throw damaged('zstd', 'does not end where the next begins', offset)
  const content = Buffer.allocUnsafeSlow(contentBytes)
  const { decode, decodeNow } = zstdFrames()
  const length = contentBytes <= SMALL ? decodeNow(frame, content) : await decode(frame, content)
  return content.subarray(0, length)
}

/** How much content a zstd frame has that does not say so; at most `limit` bytes. */
export async function zstdContentBytes(frame: Buffer, limit: number, offset: number): Promise<number> {
  try {
    const content = await unzstd(frame, { chunkSize: 1 << 20, maxOutputLength: limit })
    return content.length
  } catch (error) {
    throw damagedFrame('zstd', error, offset)
  }
}

/** RFC 8878, section 3.1.1: header, blocks, checksum. The codec does not notice whatever lacks at the end. */
function zstdFrameLength(frame: Buffer, offset: number): number {
  const ends = () => damaged('zstd', 'is cut short', offset)
  if (frame.length < 5 || frame.length < zstdHeaderLength(frame[4])) throw ends()
  const { length, checksum } = decodeZstdHeader(frame, offset)
  for (let at = length; at + ZSTD_BLOCK_HEADER_SIZE <= frame.length; ) {
    const block = decodeZstdBlock(frame.subarray(at, at + ZSTD_BLOCK_HEADER_SIZE), offset + at)
    at += block.length
    if (block.last) return at + (checksum ? ZSTD_CHECKSUM_SIZE : 0)
  }
  throw ends()
}

async function decodeGzip(member: Buffer, contentBytes: number): Promise<Buffer> {
  return ungzip(member, settings(contentBytes))
}

/** Blocks in libuv's pool at once. */
const AT_ONCE = 16

/** Of independent blocks of at most 64 KiB, as ours are. */
async function decodeLz4(frame: Buffer, contentBytes: number, offset: number): Promise<Buffer> {
  if (frame.length < LZ4_HEADER_LIMIT) throw damaged('LZ4', 'is cut short', offset)
  const header = decodeLz4Header(frame.subarray(0, lz4HeaderLength(frame)), offset)
  if (!header.independent || header.blockSize > OUR_BLOCK_SIZE || header.blockChecksums || !header.contentChecksum)
    throw damaged('LZ4', 'is not of the kind that its map is for', offset)
  const blocks = lz4Blocks(frame, header.length, offset)
  const content = Buffer.allocUnsafeSlow(contentBytes)
  let filled = 0
  for (let first = 0; first < blocks.length; first += AT_ONCE) {
    // All of them end before an error is thrown: `frame` may be gone then.
    const parts = await Promise.allSettled(blocks.slice(first, first + AT_ONCE).map(decodeBlock))
    for (const [at, part] of parts.entries()) {
      if (part.status === 'rejected') throw part.reason
      filled += part.value.copy(content, filled)
      if (!blocks[first + at].stored) free(part.value)
    }
  }
  if (filled !== contentBytes) throw damaged('LZ4', `should hold ${contentBytes} bytes and holds ${filled}`, offset)
  if (xxh32(content) !== frame.readUInt32LE(frame.length - 4))
    throw damaged('LZ4', 'does not match its checksum', offset)
  return content
}

/** lz4_Frame_format.md, "Data Blocks": to the end mark, behind which there is the checksum alone. */
function lz4Blocks(frame: Buffer, from: number, offset: number): Lz4Block[] {
  const blocks: Lz4Block[] = []
  const end = frame.length - 8
  for (let at = from; at <= end; ) {
    const word = frame.readUInt32LE(at)
    if (word === END_MARK && at === end) return blocks
    const stored = word >= STORED
    const length = stored ? word - STORED : word
    if (length === 0 || length > OUR_BLOCK_SIZE || at + PREFIX + length > end) break
    frame.writeUInt32LE(OUR_BLOCK_SIZE, at)
    blocks.push({ bytes: frame.subarray(at, at + PREFIX + length), stored, offset: offset + at })
    at += PREFIX + length
  }
  throw damaged('LZ4', 'is cut short', offset)
}
