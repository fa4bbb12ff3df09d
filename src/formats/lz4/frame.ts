/**
 * Encodes and decodes LZ4 frames (lz4_Frame_format.md, version 1.6.4): the header, and the fields between the blocks. Nothing here
 * reads. All readers of a frame (of a stream, a file or memory) go through it by `readLz4Header` and `decodeLz4BlockSize`. Integers are little endian. Section names in the comments are those of that page.
 */

import { VmapipeError } from '../../core/errors.ts'
import { xxh32 } from './xxh32.ts'

const LZ4_MAGIC = 0x184d2204
/** Bytes of content in a legacy block (8 MiB). The last block of a frame has less. */
export const LEGACY_BLOCK_SIZE = 8 << 20

/** "Block Size": the highest bit says that the block is stored uncompressed. */
export const STORED = 0x80000000
const END_MARK = 0
/** Magic, FLG, BD, content size, dictionary id, header checksum. */
export const LZ4_HEADER_LIMIT = 19
const LZ4_HEADER_LEAST = 7

export interface Lz4FrameHeader {
  /** Bytes of the header, magic included. */
  length: number
  /** The most bytes of content in a block. */
  blockSize: number
  /** Whether no block refers to the content of earlier blocks. */
  independent: boolean
  blockChecksums: boolean
  contentChecksum: boolean
  contentSize: number | undefined
}

const FLG = { version: 0xc0, version1: 0x40, independent: 0x20, blockChecksum: 0x10, contentSize: 0x08, checksum: 0x04 }
const FLG_RESERVED = 0x02
const FLG_DICTIONARY = 0x01
const BD_RESERVED = 0x8f

/** The size of the header that begins with these bytes. At least 5 are needed. */
export function lz4HeaderLength(start: Buffer): number {
  const flags = start[4]
  return 7 + (flags & FLG.contentSize ? 8 : 0) + (flags & FLG_DICTIONARY ? 4 : 0)
}

/** Whether a header that can be decoded begins here. */
export function isLz4Header(start: Buffer): boolean {
  if (start.length < LZ4_HEADER_LEAST || (start[4] & FLG.version) !== FLG.version1) return false
  const length = lz4HeaderLength(start)
  return start.length >= length && headerChecksum(start.subarray(0, length)) === start[length - 1]
}

function headerChecksum(header: Buffer): number {
  return (xxh32(header.subarray(4, -1)) >>> 8) & 0xff
}

/**
 * Decodes the header that begins with these bytes, which are LZ4_HEADER_LIMIT or up to the end of the input. Null if it is cut short.
 * Throws DAMAGED.
 */
export function readLz4Header(start: Buffer, offset: number): Lz4FrameHeader | null {
  return start.length > 4 && start.length >= lz4HeaderLength(start) ? decodeLz4Header(start, offset) : null
}

/** Decodes a whole header ("Frame Descriptor"). `offset` is its place in the archive, for the errors. Throws DAMAGED. */
export function decodeLz4Header(header: Buffer, offset: number): Lz4FrameHeader {
  const damaged = (what: string, hint?: string) => new VmapipeError('DAMAGED', `an LZ4 frame ${what}`, { offset, hint })
  const length = lz4HeaderLength(header)
  const [flags, bd] = [header[4], header[5]]
  if (headerChecksum(header.subarray(0, length)) !== header[length - 1]) {
    throw damaged('has a header that does not match its checksum')
  }
  if ((flags & FLG.version) !== FLG.version1) throw damaged(`is of the unknown version ${flags >>> 6}`)
  if (flags & FLG_RESERVED || bd & BD_RESERVED) throw damaged('uses flags that are not defined')
  if (flags & FLG_DICTIONARY) throw damaged('needs a dictionary', 'decompress it with lz4 -D, and pipe it in')
  const size = (bd >>> 4) & 7
  if (size < 4) throw damaged(`has the undefined block size ${size}`)
  return {
    length,
    blockSize: 1 << (8 + 2 * size),
    independent: (flags & FLG.independent) !== 0,
    blockChecksums: (flags & FLG.blockChecksum) !== 0,
    contentChecksum: (flags & FLG.checksum) !== 0,
    contentSize: flags & FLG.contentSize ? contentSizeOf(header, damaged) : undefined,
  }
}

function contentSizeOf(header: Buffer, damaged: (what: string) => VmapipeError): number {
  const size = header.readBigUInt64LE(6)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`claims to hold ${size} bytes`)
  return Number(size)
}

/** Bytes of "Block Size", which is before each block. */
export const LZ4_BLOCK_SIZE_FIELD = 4

export interface Lz4BlockSize {
  /** Whether the block is not compressed. */
  stored: boolean
  /** Bytes of the block, without this field and without its checksum. */
  length: number
}

/** Decodes "Block Size". Null for the end mark, which ends the blocks. `offset` is its place in the archive. Throws DAMAGED. */
export function decodeLz4BlockSize(
  field: Buffer,
  { blockSize }: Pick<Lz4FrameHeader, 'blockSize'>,
  offset: number,
): Lz4BlockSize | null {
  const word = field.readUInt32LE()
  if (word === END_MARK) return null
  const stored = word >= STORED
  const length = stored ? word - STORED : word
  if (length <= blockSize) return { stored, length }
  throw new VmapipeError('DAMAGED', `an LZ4 block claims to be ${length} bytes long`, { offset })
}

/** The most bytes of content in a block that we write (256 KiB). Our blocks are independent. */
export const OUR_BLOCK_SIZE = 256 << 10
/** Bytes of content in a block of `encodeLz4Header` (64 KiB). */
export const SMALL_BLOCK_SIZE = 64 << 10
const SMALL_BD = 4 << 4

/** Whether the frame is of the kind that we write: its content is found without decoding, and its small blocks are decoded at once. */
export function isOurLz4({ independent, blockSize, blockChecksums, contentChecksum }: Lz4FrameHeader): boolean {
  return independent && blockSize <= OUR_BLOCK_SIZE && !blockChecksums && contentChecksum
}

/** The header of a frame of independent blocks of 64 KiB, with content size and content checksum. */
export function encodeLz4Header(contentSize: number): Buffer {
  const header = Buffer.allocUnsafeSlow(15)
  header.writeUInt32LE(LZ4_MAGIC, 0)
  header[4] = FLG.version1 | FLG.independent | FLG.contentSize | FLG.checksum
  header[5] = SMALL_BD
  header.writeBigUInt64LE(BigInt(contentSize), 6)
  header[14] = (xxh32(header.subarray(4, 14)) >>> 8) & 0xff
  return header
}

/** "EndMark" and "Content Checksum". */
export const LZ4_TRAILER_SIZE = 8

export function encodeLz4Trailer(contentChecksum: number): Buffer {
  const trailer = Buffer.allocUnsafeSlow(LZ4_TRAILER_SIZE)
  trailer.writeUInt32LE(END_MARK, 0)
  trailer.writeUInt32LE(contentChecksum, 4)
  return trailer
}
