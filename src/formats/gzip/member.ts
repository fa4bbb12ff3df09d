/**
 * Encodes and decodes gzip members (RFC 1952) that state their own length. An extra field (section 2.3.1.1) with the subfield
 * `VP` has the length of the whole member, so that members are split without inflating them. Other readers see plain gzip.
 */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'

export const GZIP_MAGIC = 0x8b1f // little-endian 1f 8b, section 2.3.1

/** The fixed header, XLEN, and one subfield of four bytes. */
export const MEMBER_HEADER_SIZE = 20
/** CRC32 and ISIZE. */
export const MEMBER_TRAILER_SIZE = 8

/** The first bytes of every member that states its length. */
export const HEADER_START = Buffer.from([
  ...[0x1f, 0x8b, 8, 4], // magic, CM = deflate, FLG = FEXTRA
  ...[0, 0, 0, 0, 0, 255], // MTIME = none, XFL = 0, OS = unknown
  ...[8, 0], // XLEN
  ...[0x56, 0x50, 4, 0], // SI1, SI2 = "VP", LEN
])

/** The header for a member of `length` bytes, including its header and trailer. */
export function encodeMemberHeader(length: number): Buffer {
  const header = Buffer.allocUnsafeSlow(MEMBER_HEADER_SIZE)
  HEADER_START.copy(header)
  header.writeUInt32LE(length, HEADER_START.length)
  return header
}

/** The length of the member that begins here, or undefined if it does not state it. `offset` is its place, for the error. */
export function memberLength(header: Buffer, offset: number): number | undefined {
  if (header.length < MEMBER_HEADER_SIZE) return undefined
  if (HEADER_START.compare(header, 0, HEADER_START.length) !== 0) return undefined
  const length = header.readUInt32LE(HEADER_START.length)
  if (length < MEMBER_HEADER_SIZE + MEMBER_TRAILER_SIZE) {
    throw new VmapipeError('DAMAGED', `a gzip member claims to be ${length} bytes long`, { offset })
  }
  return length
}

/** ISIZE (section 2.3.1): the length of the content modulo 2^32. `member` is a whole member, or the end of one. */
export function memberContentSize(member: Buffer): number {
  return member.readUInt32LE(member.length - 4)
}

/** FLG, section 2.3.1. */
const FLG = { headerChecksum: 2, extra: 4, name: 8, comment: 16, reserved: 0xe0 }
const FIXED_HEADER = 10
const DEFLATE = 8

/**
 * The length of any member's header (section 2.3), of which `start` has the beginning. Undefined if `start` is too short to tell.
 * Throws DAMAGED if it is no header.
 */
export function gzipHeaderLength(start: Buffer, offset: number): number | undefined {
  const damaged = (what: string) => new VmapipeError('DAMAGED', `a gzip member ${what}`, { offset })
  const [, , method = DEFLATE, flags = 0] = start
  if (method !== DEFLATE) throw damaged('is of an unknown method')
  if (start.length < FIXED_HEADER) return undefined
  if (flags & FLG.reserved) throw damaged('uses flags that are not defined')
  let at = FIXED_HEADER
  if (flags & FLG.extra) at += start.length < at + 2 ? start.length : 2 + start.readUInt16LE(at)
  for (const flag of [FLG.name, FLG.comment]) {
    if ((flags & flag) === 0) continue
    const end = start.indexOf(0, at)
    if (end < 0) return undefined
    at = end + 1
  }
  if ((flags & FLG.headerChecksum) === 0) return at <= start.length ? at : undefined
  if (start.length < at + 2) return undefined
  if (start.readUInt16LE(at) !== (crc32(start.subarray(0, at)) & 0xffff))
    throw damaged('has a header that does not match its checksum')
  return at + 2
}
