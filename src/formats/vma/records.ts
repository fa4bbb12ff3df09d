/** Encodes and decodes record extents, which other readers skip (README.md beside this file, section 2). */

import { EXTENT_HEADER_SIZE, SLOT_TABLE, SLOTS, sealExtent, startExtent } from './extent-header.ts'

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
  eachPiece((from, at, length) => header.set(bytes.subarray(from, from + length), at))
  return sealExtent(header, 0)
}

/** Decodes the record in an extent header that was already checked; null if it is no record. */
export function decodeRecord(header: Buffer): RecordExtent | null {
  if (header.readUInt16BE(SLOT_TABLE) !== MARK) return null
  for (let at = SLOT_TABLE; at < EXTENT_HEADER_SIZE; at += 8) if (header[at + 3] !== 0) return null
  const bytes = Buffer.alloc(RECORD_BYTES)
  eachPiece((from, at, length) => header.copy(bytes, from, at, at + length))
  return { kind: header[SLOT_TABLE + 2], number: header.readUInt32BE(SLOT_TABLE + 4), bytes }
}

/** Visits the bytes before and behind the dev_id of every slot except the first. */
function eachPiece(see: (from: number, at: number, length: number) => void): void {
  for (let slot = 1; slot < SLOTS; slot++) {
    const from = (slot - 1) * 7
    const at = SLOT_TABLE + slot * 8
    see(from, at, 3)
    see(from + 3, at + 4, 4)
  }
}
