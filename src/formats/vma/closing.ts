/** Encodes and decodes the closing extent, the last one of an archive that was finished (README.md beside this file). */

import { VmapipeError } from '../../core/errors.ts'
import { decodeExtentHeader } from './extent.ts'
import { EXTENT_HEADER_SIZE, EXTENT_MAGIC } from './extent-header.ts'
import { CLOSING, encodeRecord, RECORD_BYTES, type RecordExtent } from './records.ts'

const VERSION = 1
const HAS_INDEX = 1
const HAS_HASHES = 2

export interface Closing {
  hasIndex: boolean
  /** Whether hash records have the hashes of all stored clusters. */
  hasHashes: boolean
  /** The number of pages, which are right before the closing extent. */
  pages: number
  tableBytes: number
  /** The CRC-32 of the table. */
  tableChecksum: number
  /** Extents before the first page. */
  extents: number
  /** Bytes of the archive before the first page. */
  bytes: number
}

export function encodeClosing(uuid: Uint8Array, closing: Closing): Buffer {
  const bytes = Buffer.alloc(32)
  bytes[0] = VERSION
  bytes[1] = (closing.hasIndex ? HAS_INDEX : 0) | (closing.hasHashes ? HAS_HASHES : 0)
  bytes.writeBigUInt64BE(BigInt(closing.tableBytes), 4)
  bytes.writeUInt32BE(closing.tableChecksum, 12)
  bytes.writeBigUInt64BE(BigInt(closing.extents), 16)
  bytes.writeBigUInt64BE(BigInt(closing.bytes), 24)
  return encodeRecord(uuid, { kind: CLOSING, number: closing.pages, bytes })
}

/** Whether these bytes are a whole closing extent of the archive with this uuid. */
export function isClosing(bytes: Buffer, uuid: Uint8Array): boolean {
  if (bytes.length !== EXTENT_HEADER_SIZE || bytes.readUInt32BE(0) !== EXTENT_MAGIC) return false
  try {
    return decodeExtentHeader(bytes, uuid, 0).record?.kind === CLOSING
  } catch {
    return false
  }
}

/** Decodes a closing extent; null if its version is not known. Throws DAMAGED if it contradicts itself. */
export function decodeClosing({ number: pages, bytes }: RecordExtent): Closing | null {
  if (bytes[0] !== VERSION) return null
  const tableBytes = Number(bytes.readBigUInt64BE(4))
  if (Math.ceil(tableBytes / RECORD_BYTES) !== pages)
    throw new VmapipeError('DAMAGED', `the closing extent claims ${pages} pages for a table of ${tableBytes} bytes`)
  return {
    hasIndex: (bytes[1] & HAS_INDEX) !== 0,
    hasHashes: (bytes[1] & HAS_HASHES) !== 0,
    pages,
    tableBytes,
    tableChecksum: bytes.readUInt32BE(12),
    extents: Number(bytes.readBigUInt64BE(16)),
    bytes: Number(bytes.readBigUInt64BE(24)),
  }
}
