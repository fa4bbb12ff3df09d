/**
 * Reads a single frame whose place is known: its declared content size, without decoding, and its content, from memory to memory. The
 * content must be exactly as long as the map of frames says.
 */

import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import { VmapipeError } from '../core/errors.ts'
import { discard } from '../core/memory.ts'
import { type Format, MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import { MEMBER_TRAILER_SIZE, memberContentSize } from '../formats/gzip/member.ts'
import {
  decodeLz4BlockSize,
  isOurLz4,
  LZ4_BLOCK_SIZE_FIELD,
  LZ4_HEADER_LIMIT,
  LZ4_TRAILER_SIZE,
  type Lz4FrameHeader,
  readLz4Header,
} from '../formats/lz4/frame.ts'
import { xxh32 } from '../formats/lz4/xxh32.ts'
import { readZstdHeader, ZSTD_HEADER_LIMIT, ZstdParts } from '../formats/zstd/frame.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { wholeContent } from './content-memory.ts'
import { decodeBlock, free, type Lz4Block } from './lz4/block.ts'
import { PREFIX } from './lz4/codec.ts'
import { liblz4 } from './lz4/liblz4.ts'
import { damagedFrame } from './zlib-stream.ts'
import { zstdFrames } from './zstd/frames.ts'

/** Bytes of a frame that its header may have. */
const START = Math.max(LZ4_HEADER_LIMIT, ZSTD_HEADER_LIMIT)

/** The content size of the frame of `length` bytes at `offset`; undefined if it does not declare one. Throws DAMAGED. */
export async function declaredContent(file: ArchiveBytes, offset: number, length: number): Promise<number | undefined> {
  const start = Buffer.allocUnsafe(Math.min(START, length))
  await file.read(start, offset)
  const format = recognise(start)
  if (format === 'skippable') return 0
  if (format === 'zstd') return readZstdHeader(start, offset)?.contentSize
  if (format === 'lz4') return readLz4Header(start, offset)?.contentSize
  if (format !== 'gzip' || length < MEMBER_TRAILER_SIZE) return undefined
  const trailer = start.subarray(0, MEMBER_TRAILER_SIZE)
  await file.read(trailer, offset + length - MEMBER_TRAILER_SIZE)
  return memberContentSize(trailer)
}

/** Decodes into `content` and returns the length of the frame's content, which may be more than fits. */
type FrameCodec = (frame: Buffer, content: Buffer, offset: number) => Promise<number>

const CODECS: Partial<Record<Format, { name: string; decode: FrameCodec }>> = {
  zstd: { name: 'zstd', decode: decodeZstd },
  lz4: { name: 'LZ4', decode: decodeLz4 },
  gzip: { name: 'gzip', decode: decodeGzip },
}

/**
 * Decodes a frame of any format. `content` has the length that the map gives; `frame` may be overwritten. `offset` is the frame's
 * place, for errors. Throws DAMAGED.
 */
export async function decodeFrame(frame: Buffer, content: Buffer, offset: number): Promise<void> {
  const codec = CODECS[recognise(frame.subarray(0, MAGIC_LIMIT)) ?? 'vma']
  if (codec === undefined) throw new VmapipeError('DAMAGED', 'no compressed frame begins here', { offset })
  let length: number
  try {
    length = await codec.decode(frame, content, offset)
  } catch (error) {
    throw damagedFrame(codec.name, error, offset)
  }
  if (length !== content.length)
    throw damaged(codec.name, `should hold ${content.length} bytes and holds ${length}`, offset)
}

function damaged(format: string, what: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `a ${format} frame ${what}`, { offset })
}

/** Content of up to 128 KiB is decoded in the calling thread: that takes less time than a switch to another thread. */
const SMALL = 128 << 10

const unzstd = promisify(zstdDecompress)
const ungzip = promisify(gunzip)

async function decodeZstd(frame: Buffer, content: Buffer, offset: number): Promise<number> {
  if (zstdFrameLength(frame, offset) !== frame.length)
    throw damaged('zstd', 'does not end where the next begins', offset)
  const { decode, decodeNow } = zstdFrames()
  return content.length <= SMALL ? decodeNow(frame, content) : decode(frame, content)
}

/** Decodes a zstd frame that does not state its content size, to find it. The content may have at most `limit` bytes. */
export async function zstdContentBytes(frame: Buffer, limit: number, offset: number): Promise<number> {
  try {
    const content = await unzstd(frame, { chunkSize: 1 << 20, maxOutputLength: limit })
    return content.length
  } catch (error) {
    throw damagedFrame('zstd', error, offset)
  }
}

/** The length of a zstd frame. The codec does not notice a missing end. */
function zstdFrameLength(frame: Buffer, offset: number): number {
  const header = readZstdHeader(frame, offset)
  if (header === null) throw damaged('zstd', 'is cut short', offset)
  const parts = new ZstdParts(header)
  let at = header.length
  while (!parts.ended) {
    const start = frame.subarray(at, at + parts.needed)
    if (start.length < parts.needed) throw damaged('zstd', 'is cut short', offset)
    at += parts.next(start, offset + at)
  }
  return at
}

async function decodeGzip(member: Buffer, content: Buffer): Promise<number> {
  const bytes = await ungzip(member, wholeContent(content.length))
  const { length } = bytes
  bytes.copy(content)
  discard(bytes)
  return length
}

/** Blocks that are in libuv's thread pool at once. */
const AT_ONCE = 16

/** Decodes a frame of small independent blocks, as we write them. */
async function decodeLz4(frame: Buffer, content: Buffer, offset: number): Promise<number> {
  const header = readLz4Header(frame, offset)
  if (header === null) throw damaged('LZ4', 'is cut short', offset)
  if (!isOurLz4(header)) throw damaged('LZ4', 'is not of the kind that its map is for', offset)
  const native = liblz4()
  if (native !== null) return native.decode(frame, content)
  const blocks = lz4Blocks(frame, header, offset)
  let filled = 0
  for (let first = 0; first < blocks.length; first += AT_ONCE) {
    // Waits for all of them before it throws an error, because `frame` may be reused then.
    const parts = await Promise.allSettled(blocks.slice(first, first + AT_ONCE).map(decodeBlock))
    for (const [at, part] of parts.entries()) {
      if (part.status === 'rejected') throw part.reason
      part.value.copy(content, Math.min(filled, content.length))
      filled += part.value.length
      if (!blocks[first + at].stored) free(part.value)
    }
  }
  if (filled === content.length && xxh32(content) !== frame.readUInt32LE(frame.length - 4))
    throw damaged('LZ4', 'does not match its checksum', offset)
  return filled
}

/** The blocks of a frame, up to the end mark. Only the checksum follows that. */
function lz4Blocks(frame: Buffer, header: Lz4FrameHeader, offset: number): Lz4Block[] {
  const blocks: Lz4Block[] = []
  const end = frame.length - LZ4_TRAILER_SIZE
  for (let at = header.length; at <= end; ) {
    const size = decodeLz4BlockSize(frame.subarray(at, at + LZ4_BLOCK_SIZE_FIELD), header, offset + at)
    if (size === null && at === end) return blocks
    if (size === null || size.length === 0 || at + PREFIX + size.length > end) break
    frame.writeUInt32LE(header.blockSize, at)
    const next = at + PREFIX + size.length
    blocks.push({ bytes: frame.subarray(at, next), stored: size.stored, offset: offset + at })
    at = next
  }
  throw damaged('LZ4', 'is cut short', offset)
}
