/**
 * Decodes the structure of zstd frames (RFC 8878) without the content of blocks. That is enough to know where a frame ends, and
 * to notice a frame that is cut short even if the codec does not. Nothing here reads. All readers of a frame (of a
 * stream, a file or memory) go through it by `readZstdHeader` and `ZstdParts`. Integers are little endian.
 */

import { VmapipeError } from '../../core/errors.ts'

/** The longest header in bytes: Magic_Number, Frame_Header_Descriptor, Window_Descriptor, Dictionary_ID and Frame_Content_Size. */
export const ZSTD_HEADER_LIMIT = 18
/** Section 3.1.1.2 */
export const ZSTD_BLOCK_HEADER_SIZE = 3
const ZSTD_BLOCK_LIMIT = 128 << 10
/** Content_Checksum, section 3.1.1 */
const ZSTD_CHECKSUM_SIZE = 4

export interface ZstdFrameHeader {
  /** Bytes of the header, magic included. */
  length: number
  /** Bytes of content that a decoder must keep. */
  windowSize: number
  contentSize: number | undefined
  checksum: boolean
}

/** Section 3.1.1.1.1 */
const DESCRIPTOR = { contentSize: 6, singleSegment: 0x20, reserved: 0x08, checksum: 0x04, dictionary: 0x03 }
const DICTIONARY_SIZES = [0, 1, 2, 4]
const CONTENT_SIZES = [0, 2, 4, 8]

/** Bytes of a frame's header, magic included, by its Frame_Header_Descriptor. */
export function zstdHeaderLength(descriptor: number): number {
  const single = (descriptor & DESCRIPTOR.singleSegment) !== 0
  return 5 + (single ? 0 : 1) + DICTIONARY_SIZES[descriptor & DESCRIPTOR.dictionary] + contentFieldSize(descriptor)
}

/** Whether a frame may begin here: its header has only defined flags, and a block follows. */
export function isZstdHeader(start: Buffer): boolean {
  if (start.length < 5 || (start[4] & DESCRIPTOR.reserved) !== 0) return false
  const length = zstdHeaderLength(start[4])
  if (start.length < length + ZSTD_BLOCK_HEADER_SIZE) return false
  const bits = start.readUIntLE(length, ZSTD_BLOCK_HEADER_SIZE)
  return isSoundBlock(bits)
}

function contentFieldSize(descriptor: number): number {
  const flag = descriptor >>> DESCRIPTOR.contentSize
  // A header without a window always has the content size, in at least one byte.
  return flag === 0 && (descriptor & DESCRIPTOR.singleSegment) !== 0 ? 1 : CONTENT_SIZES[flag]
}

/**
 * Decodes the header that begins with these bytes, which are ZSTD_HEADER_LIMIT or up to the end of the input. Null if it is cut
 * short. Throws DAMAGED.
 */
export function readZstdHeader(start: Buffer, offset: number): ZstdFrameHeader | null {
  return start.length > 4 && start.length >= zstdHeaderLength(start[4]) ? decodeZstdHeader(start, offset) : null
}

/** Decodes a whole header. `offset` is its place in the archive, for the errors. Throws DAMAGED. */
export function decodeZstdHeader(header: Buffer, offset: number): ZstdFrameHeader {
  const damaged = (what: string, hint?: string) => new VmapipeError('DAMAGED', `a zstd frame ${what}`, { offset, hint })
  const descriptor = header[4]
  if (descriptor & DESCRIPTOR.reserved) throw damaged('uses a flag that is not defined')
  const single = (descriptor & DESCRIPTOR.singleSegment) !== 0
  const dictionaryAt = single ? 5 : 6
  const dictionarySize = DICTIONARY_SIZES[descriptor & DESCRIPTOR.dictionary]
  if (dictionarySize > 0 && header.readUIntLE(dictionaryAt, dictionarySize) !== 0) {
    throw damaged('needs a dictionary', 'decompress it with zstd -D, and pipe it in')
  }
  const contentSize = decodeContentSize(header, dictionaryAt + dictionarySize, contentFieldSize(descriptor))
  if (contentSize !== undefined && !Number.isSafeInteger(contentSize))
    throw damaged('claims to hold more than 2^53 bytes')
  return {
    length: zstdHeaderLength(descriptor),
    windowSize: single ? contentSize! : decodeWindowSize(header[5]),
    contentSize,
    checksum: (descriptor & DESCRIPTOR.checksum) !== 0,
  }
}

/** A copy of the frame without its checksum and the flag for it; null if the frame has no checksum. */
export function withoutChecksum(frame: Buffer): Buffer | null {
  if ((frame[4] & DESCRIPTOR.checksum) === 0) return null
  const copy = Buffer.from(frame.subarray(0, -ZSTD_CHECKSUM_SIZE))
  copy[4] &= ~DESCRIPTOR.checksum
  return copy
}

/** Section 3.1.1.1.4 */
function decodeContentSize(header: Buffer, at: number, size: number): number | undefined {
  if (size === 0) return undefined
  if (size === 8) return Number(header.readBigUInt64LE(at))
  return header.readUIntLE(at, size) + (size === 2 ? 256 : 0)
}

/** Section 3.1.1.1.2 */
function decodeWindowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3))
  return base + (base / 8) * (descriptor & 7)
}

interface ZstdBlock {
  last: boolean
  /** Bytes of the block in the frame, header included. */
  length: number
  /** The most bytes of content that it can have: 128 KiB if it is compressed. */
  most: number
}

const BLOCK_RLE = 1
const BLOCK_COMPRESSED = 2
const BLOCK_RESERVED = 3

function isSoundBlock(bits: number): boolean {
  return ((bits >>> 1) & 3) !== BLOCK_RESERVED && bits >>> 3 <= ZSTD_BLOCK_LIMIT
}

/** Decodes a block header (section 3.1.1.2). `offset` is its place in the archive. Throws DAMAGED. */
export function decodeZstdBlock(header: Buffer, offset: number): ZstdBlock {
  const bits = header.readUIntLE(0, ZSTD_BLOCK_HEADER_SIZE)
  const type = (bits >>> 1) & 3
  const size = bits >>> 3
  if (!isSoundBlock(bits)) {
    throw new VmapipeError('DAMAGED', 'a zstd frame has a block of an unknown type', { offset })
  }
  return {
    last: (bits & 1) !== 0,
    length: ZSTD_BLOCK_HEADER_SIZE + (type === BLOCK_RLE ? 1 : size),
    most: type === BLOCK_COMPRESSED ? ZSTD_BLOCK_LIMIT : size,
  }
}

/** The parts of a frame behind its header: blocks, then the checksum if there is one. */
export class ZstdParts {
  #next: 'block' | 'checksum' | 'end' = 'block'
  readonly #checksum: boolean
  /** The most bytes of content that the blocks so far can have. */
  mostContent = 0

  constructor({ checksum }: Pick<ZstdFrameHeader, 'checksum'>) {
    this.#checksum = checksum
  }

  /** Whether the frame has no further part. */
  get ended(): boolean {
    return this.#next === 'end'
  }

  /** The first bytes of the next part that `next` must be given. */
  get needed(): number {
    return this.#next === 'block' ? ZSTD_BLOCK_HEADER_SIZE : 0
  }

  /** Whether `next` does not throw. */
  isSound(start: Buffer): boolean {
    return this.#next !== 'block' || isSoundBlock(start.readUIntLE(0, ZSTD_BLOCK_HEADER_SIZE))
  }

  /** The length of the next part, which begins with `start`. `offset` is its place in the archive. Throws DAMAGED. */
  next(start: Buffer, offset: number): number {
    if (this.#next !== 'block') {
      this.#next = 'end'
      return ZSTD_CHECKSUM_SIZE
    }
    const { last, length, most } = decodeZstdBlock(start, offset)
    this.mostContent += most
    if (last) this.#next = this.#checksum ? 'checksum' : 'end'
    return length
  }
}
