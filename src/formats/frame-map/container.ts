/** Wraps the map and the footer in what decompressors skip (README.md beside this file): skippable frames, or empty gzip members. */

import { encodeSkippableHeader, SKIPPABLE_HEADER_SIZE, SKIPPABLE_MAGIC } from '../skippable.ts'

export type Container = 'skippable' | 'gzip'

export const FOOTER_SIZE = 40

/** RFC 1952, section 2.3: magic, CM = deflate, FLG = FEXTRA, no MTIME, XFL 0, OS unknown. */
const MEMBER_START = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255])
/** An empty final block with fixed codes, CRC32 0, ISIZE 0. */
const MEMBER_END = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0])
export const MEMBER_END_SIZE = MEMBER_END.length
/** XLEN, and SI1, SI2 and LEN of the subfield. */
const EXTRA_HEADER = 6
const MEMBER_OVERHEAD = MEMBER_START.length + EXTRA_HEADER + MEMBER_END.length
const MEMBER_PIECE = 65_000

/** The most bytes of a footer with its wrapper. */
export const TAIL_SIZE = FOOTER_SIZE + MEMBER_OVERHEAD

export function wrap(bytes: Buffer, container: Container): Buffer[] {
  if (container === 'skippable') return [encodeSkippableHeader(bytes.length), bytes]
  const members: Buffer[] = []
  for (let at = 0; at < bytes.length; at += MEMBER_PIECE) {
    const piece = bytes.subarray(at, at + MEMBER_PIECE)
    members.push(memberHeader(piece.length), piece, MEMBER_END)
  }
  return members
}

/** The size of `bytes` bytes with their wrappers. */
export function wrappedBytes(bytes: number, container: Container): number {
  return bytes + (container === 'skippable' ? SKIPPABLE_HEADER_SIZE : Math.ceil(bytes / MEMBER_PIECE) * MEMBER_OVERHEAD)
}

/** Bytes of each piece except the last. Each piece has a wrapper of its own. */
export function pieceBytes(container: Container): number {
  return container === 'skippable' ? Number.POSITIVE_INFINITY : MEMBER_PIECE
}

/** The part of the wrapper before a piece of `bytes` bytes. */
export function headerFor(bytes: number, container: Container): Buffer {
  return container === 'skippable' ? encodeSkippableHeader(bytes) : memberHeader(bytes)
}

interface FoundFooter {
  footer: Buffer
  container: Container
  /** Whether the wrapper is right. */
  intact: boolean
  /** Bytes of the footer and its wrapper. */
  length: number
}

/** Unwraps the last bytes of an archive as a footer; null if they have neither its magic nor its wrapper. */
export function unwrapFooter(tail: Buffer, magic: Buffer): FoundFooter | null {
  for (const container of ['skippable', 'gzip'] as const) {
    const length = wrappedBytes(FOOTER_SIZE, container)
    if (tail.length < length) continue
    const wrapped = tail.subarray(tail.length - length)
    const header = headerFor(FOOTER_SIZE, container)
    const footer = wrapped.subarray(header.length, header.length + FOOTER_SIZE)
    const headed = wrapped.subarray(0, header.length).equals(header)
    const ended = container === 'skippable' || wrapped.subarray(-MEMBER_END.length).equals(MEMBER_END)
    if (headed || footer.subarray(0, magic.length).equals(magic))
      return { footer, container, intact: headed && ended, length }
  }
  return null
}

/** The length of the empty gzip member that begins with these bytes; undefined if it wraps neither a part of a map nor a footer. */
export function wrapperLength(start: Buffer): number | undefined {
  const header = MEMBER_START.length + EXTRA_HEADER
  if (start.length < header || !startsWrapper(start) || start[0] !== MEMBER_START[0]) return undefined
  return start.readUInt16LE(header - 2) + MEMBER_OVERHEAD
}

/** Whether these bytes begin a wrapper of a map or a footer, or could do so if more bytes followed. */
export function startsWrapper(start: Buffer): boolean {
  const starts = [SKIPPABLE_MAGIC, MEMBER_START]
  const begins = starts.some((bytes) => {
    const length = Math.min(bytes.length, start.length)
    return length > 0 && bytes.subarray(0, length).equals(start.subarray(0, length))
  })
  const isOther = start.length >= 14 && start[0] === MEMBER_START[0] && start.toString('latin1', 12, 14) !== 'VM'
  return begins && !isOther
}

/** RFC 1952, section 2.3.1.1. */
function memberHeader(bytes: number): Buffer {
  const header = Buffer.alloc(MEMBER_START.length + EXTRA_HEADER)
  MEMBER_START.copy(header)
  header.writeUInt16LE(bytes + 4, MEMBER_START.length)
  header.write('VM', MEMBER_START.length + 2, 'latin1')
  header.writeUInt16LE(bytes, MEMBER_START.length + 4)
  return header
}
