/**
 * gzip members (RFC 1952) that tell their own length: an extra field (section 2.3.1.1) with the subfield `VP` holds
 * the length of the whole member, so that members are split without inflating them. To others it is plain gzip.
 */

import { VmapipeError } from '../../core/errors.ts'

export const GZIP_MAGIC = 0x8b1f // little-endian 1f 8b, section 2.3.1

/** The fixed header, XLEN, and one subfield of four bytes. */
export const MEMBER_HEADER_SIZE = 20
/** CRC32 and ISIZE. */
export const MEMBER_TRAILER_SIZE = 8

/** What every member begins with that tells its length. */
export const HEADER_START = Buffer.from([
  ...[0x1f, 0x8b, 8, 4], // magic, CM = deflate, FLG = FEXTRA
  ...[0, 0, 0, 0, 0, 255], // MTIME = none, XFL = 0, OS = unknown
  ...[8, 0], // XLEN
  ...[0x56, 0x50, 4, 0], // SI1, SI2 = "VP", LEN
])

/** A header for a member of `length` bytes, header and trailer included. */
export function encodeMemberHeader(length: number): Buffer {
  const header = Buffer.allocUnsafeSlow(MEMBER_HEADER_SIZE)
  HEADER_START.copy(header)
  header.writeUInt32LE(length, HEADER_START.length)
  return header
}

/** The length of the member that begins here, if it tells it; `offset` is where it is, for the error. */
export function memberLength(header: Buffer, offset: number): number | undefined {
  if (header.length < MEMBER_HEADER_SIZE) return undefined
  if (HEADER_START.compare(header, 0, HEADER_START.length) !== 0) return undefined
  const length = header.readUInt32LE(HEADER_START.length)
  if (length < MEMBER_HEADER_SIZE + MEMBER_TRAILER_SIZE) {
    throw new VmapipeError('DAMAGED', `a gzip member claims to be ${length} bytes long`, { offset })
  }
  return length
}

/** ISIZE (section 2.3.1): the length of the content modulo 2^32. */
export function memberContentSize(member: Buffer): number {
  return member.readUInt32LE(member.length - 4)
}
