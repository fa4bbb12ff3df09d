/** Encodes and decodes record extents, which other readers skip (README.md beside this file, section 2). */

import { EXTENT_HEADER_SIZE, EXTENT_MAGIC, SLOT_TABLE, SLOTS, sealExtent, startExtent } from './extent-header.ts'

const MARK = 0x5652 // "VR"

export const PAGE = 1
export const CLOSING = 2
/** A part of a group of cluster hashes. */
export const HASHES = 3

/** Bytes that a record extent carries: 406. */
export const RECORD_BYTES = (SLOTS - 1) * 7

export interface RecordExtent {
  /** PAGE, CLOSING or HASHES. Other kinds are not known. */
  kind: number
  /** The number of the page, or of the record in its group of hashes; in the closing extent the number of pages. */
  number: number
  /** Always RECORD_BYTES bytes. */
  bytes: Buffer
}

/** Encodes a whole record extent. `bytes` has at most RECORD_BYTES bytes. */
export function encodeRecord(uuid: Uint8Array, { kind, number, bytes }: RecordExtent): Buffer {
  const header = startExtent(uuid)
  header.writeUInt16BE(MARK, SLOT_TABLE)
  header[SLOT_TABLE + 2] = kind
  header.writeUInt32BE(number, SLOT_TABLE + 4)
  for (let from = 0; from < bytes.length; from++) header[placeOf(from)] = bytes[from]
  return sealExtent(header, 0)
}

/** Decodes the record in an extent header that was already checked; null if it is no record. */
export function decodeRecord(header: Buffer): RecordExtent | null {
  if (header.readUInt16BE(SLOT_TABLE) !== MARK) return null
  for (let at = SLOT_TABLE; at < EXTENT_HEADER_SIZE; at += 8) if (header[at + 3] !== 0) return null
  const bytes = Buffer.allocUnsafe(RECORD_BYTES)
  copyBytes(header, 0, bytes, 0)
  return { kind: header[SLOT_TABLE + 2], number: header.readUInt32BE(SLOT_TABLE + 4), bytes }
}

/**
 * Copies the bytes of page `number`, whose extent begins at byte `from` of `extents`, to byte `to` of `table`. Returns false if there is no
 * such page. Its MD5 is not looked at, as the table has a checksum of its own: a large archive has thousands of pages.
 */
export function copyPage(extents: Buffer, from: number, number: number, table: Uint8Array, to: number): boolean {
  const at = from + SLOT_TABLE
  const isPage = extents.readUInt32BE(from) === EXTENT_MAGIC && extents.readUInt16BE(at) === MARK
  if (!isPage || extents[at + 2] !== PAGE || extents.readUInt32BE(at + 4) !== number) return false
  copyBytes(extents, from, table, to)
  return true
}

/** Copies the bytes of a record, from the places that `placeOf` names. */
function copyBytes(extents: Buffer, from: number, into: Uint8Array, to: number): void {
  const end = from + EXTENT_HEADER_SIZE
  for (let at = from + SLOT_TABLE + 8; at < end; at += 8, to += 7) {
    into[to] = extents[at]
    into[to + 1] = extents[at + 1]
    into[to + 2] = extents[at + 2]
    into[to + 3] = extents[at + 4]
    into[to + 4] = extents[at + 5]
    into[to + 5] = extents[at + 6]
    into[to + 6] = extents[at + 7]
  }
}

/** Where a byte of a record is: in every slot except the first, before and behind its dev_id. */
function placeOf(from: number): number {
  const slot = 1 + Math.floor(from / 7)
  const within = from % 7
  return SLOT_TABLE + slot * 8 + (within < 3 ? within : within + 1)
}
