/**
 * Decodes the structure of a lzop stream without the content of blocks: enough to know where it ends. Integers are big endian.
 * The format is not documented: this follows what lzop 1.04 writes and reads.
 */

import { VmapipeError } from '../../core/errors.ts'

export const LZOP_MAGIC = Buffer.from('894c5a4f000d0a1a0a', 'hex')

const FLAG = { adlerContent: 1, adlerData: 2, extra: 0x40, crcContent: 0x100, crcData: 0x200, filter: 0x800 }
/** The first version whose headers have a level, the version needed and the high half of the time. */
const EXTENDED = 0x0940
/** The most bytes needed: magic, versions, method, level, flags, filter, mode, time, a name of 255 bytes, checksum; and an extra field. */
export const LZOP_HEADER_LIMIT = 9 + 6 + 2 + 4 + 4 + 4 + 8 + 256 + 4
/** The largest block that lzop accepts, in bytes (64 MiB). */
const BLOCK_LIMIT = 64 << 20

interface LzopHeader {
  length: number
  flags: number
}

/** Decodes the header that begins here; null if these bytes are too few. */
export function decodeLzopHeader(start: Buffer): LzopHeader | null {
  let at = LZOP_MAGIC.length
  const has = (bytes: number) => start.length >= at + bytes
  if (!has(13)) return null
  const extended = start.readUInt16BE(at) >= EXTENDED
  at += extended ? 8 : 5
  if (!has(4)) return null
  const flags = start.readUInt32BE(at)
  at += 4 + (flags & FLAG.filter ? 4 : 0) + 4 + (extended ? 8 : 4)
  if (!has(1)) return null
  at += 1 + start[at] + 4
  if ((flags & FLAG.extra) !== 0) {
    if (!has(4)) return null
    at += 4 + start.readUInt32BE(at) + 4
  }
  return { length: at, flags }
}

/** The most bytes of sizes and checksums before the data of a block. */
export const LZOP_BLOCK_HEADER_LIMIT = 24

/**
 * The length of the block that begins here, with its header; 4 for the mark at the end. Null if `start` is too short. `start` has
 * LZOP_BLOCK_HEADER_LIMIT bytes, or fewer at the end of the file.
 */
export function lzopBlockLength(
  start: Buffer,
  flags: number,
  offset: number,
): { last: boolean; length: number } | null {
  if (start.length < 4) return null
  const content = start.readUInt32BE(0)
  if (content === 0) return { last: true, length: 4 }
  if (start.length < 8) return null
  const data = start.readUInt32BE(4)
  if (content > BLOCK_LIMIT || data > content || data === 0)
    throw new VmapipeError(
      'DAMAGED',
      `a lzop block claims to be ${data} bytes long, with ${content} bytes of content`,
      {
        offset,
      },
    )
  const checksums = [FLAG.adlerContent, FLAG.crcContent, ...(data < content ? [FLAG.adlerData, FLAG.crcData] : [])]
  const length = 8 + 4 * checksums.filter((flag) => (flags & flag) !== 0).length + data
  return { last: false, length }
}
