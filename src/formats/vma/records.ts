/** Bytes in extents that readers pass over (README.md beside this file, section 2). */

import { EXTENT_HEADER_SIZE, SLOT_TABLE, SLOTS, sealExtent, startExtent } from './extent-header.ts'

const MARK = 0x5652 // "VR"

export const PAGE = 1
export const CLOSING = 2

/** Bytes that a record extent carries. */
export const RECORD_BYTES = (SLOTS - 1) * 7

export interface RecordExtent {
  /** PAGE or CLOSING; others are not known. */
  kind: number
  /** Of a page: which one; of the closing extent: how many pages there are. */
  number: number
  /** RECORD_BYTES of them. */
  bytes: Buffer
}

/** A whole extent; `bytes` are at most RECORD_BYTES. */
export function encodeRecord(uuid: Uint8Array, { kind, number, bytes }: RecordExtent): Buffer {
  const header = startExtent(uuid)
  header.writeUInt16BE(MARK, SLOT_TABLE)
  header[SLOT_TABLE + 2] = kind
  header.writeUInt32BE(number, SLOT_TABLE + 4)
  eachPiece((from, at, length) => header.set(bytes.subarray(from, from + length), at))
  return sealExtent(header, 0)
}

/** What an extent header carries that was decoded and checked as such; null where it is no record. */
export function decodeRecord(header: Buffer): RecordExtent | null {
  if (header.readUInt16BE(SLOT_TABLE) !== MARK) return null
  for (let at = SLOT_TABLE; at < EXTENT_HEADER_SIZE; at += 8) if (header[at + 3] !== 0) return null
  const bytes = Buffer.alloc(RECORD_BYTES)
  eachPiece((from, at, length) => header.copy(bytes, from, at, at + length))
  return { kind: header[SLOT_TABLE + 2], number: header.readUInt32BE(SLOT_TABLE + 4), bytes }
}

/** Around the dev_id of every slot but the first. */
function eachPiece(see: (from: number, at: number, length: number) => void): void {
  for (let slot = 1; slot < SLOTS; slot++) {
    const from = (slot - 1) * 7
    const at = SLOT_TABLE + slot * 8
    see(from, at, 3)
    see(from + 3, at + 4, 4)
  }
}
