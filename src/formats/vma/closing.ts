/** The end of an archive that was finished (README.md beside this file, "The closing extent"). */

import { VmapipeError } from '../../core/errors.ts'
import { decodeExtentHeader } from './extent.ts'
import { EXTENT_HEADER_SIZE, EXTENT_MAGIC } from './extent-header.ts'
import { CLOSING, encodeRecord, RECORD_BYTES, type RecordExtent } from './records.ts'

const VERSION = 1
const HAS_INDEX = 1

export interface Closing {
  hasIndex: boolean
  /** Record extents that carry the table, right before the closing one. */
  pages: number
  tableBytes: number
  /** CRC-32. */
  tableChecksum: number
  /** Before the first page. */
  extents: number
  bytes: number
}

export function encodeClosing(uuid: Uint8Array, closing: Closing): Buffer {
  const bytes = Buffer.alloc(32)
  bytes[0] = VERSION
  bytes[1] = closing.hasIndex ? HAS_INDEX : 0
  bytes.writeBigUInt64BE(BigInt(closing.tableBytes), 4)
  bytes.writeUInt32BE(closing.tableChecksum, 12)
  bytes.writeBigUInt64BE(BigInt(closing.extents), 16)
  bytes.writeBigUInt64BE(BigInt(closing.bytes), 24)
  return encodeRecord(uuid, { kind: CLOSING, number: closing.pages, bytes })
}

/** Whether an archive of this uuid ends with these bytes: they are all of a closing extent. */
export function isClosing(bytes: Buffer, uuid: Uint8Array): boolean {
  if (bytes.length !== EXTENT_HEADER_SIZE || bytes.readUInt32BE(0) !== EXTENT_MAGIC) return false
  try {
    return decodeExtentHeader(bytes, uuid, 0).record?.kind === CLOSING
  } catch {
    return false
  }
}

/** Throws DAMAGED where the record contradicts itself; null for a version that is not known. */
export function decodeClosing({ number: pages, bytes }: RecordExtent): Closing | null {
  if (bytes[0] !== VERSION) return null
  const tableBytes = Number(bytes.readBigUInt64BE(4))
  if (Math.ceil(tableBytes / RECORD_BYTES) !== pages)
    throw new VmapipeError('DAMAGED', `the closing extent claims ${pages} pages for a table of ${tableBytes} bytes`)
  return {
    hasIndex: (bytes[1] & HAS_INDEX) !== 0,
    pages,
    tableBytes,
    tableChecksum: bytes.readUInt32BE(12),
    extents: Number(bytes.readBigUInt64BE(16)),
    bytes: Number(bytes.readBigUInt64BE(24)),
  }
}
