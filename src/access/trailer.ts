/** Reads the table from the trailer of an archive (formats/vma/README.md, section 2). */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { type Closing, decodeClosing } from '../formats/vma/closing.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE } from '../formats/vma/extent.ts'
import { CLOSING, copyPage, RECORD_BYTES, type RecordExtent } from '../formats/vma/records.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { INDEX_LIMIT, type TableOf } from './index-builder.ts'

/** Pages that are read at once: 1 MiB. */
const PAGES_AT_ONCE = 2048

interface Trailer extends TableOf {
  /** The end of the extents with clusters. */
  end: number
}

/** Reads the trailer; null if the archive has none or its table has no index. Throws DAMAGED if the trailer contradicts itself. */
export async function readTrailer(
  bytes: ArchiveBytes,
  { uuid }: Manifest,
  headerSize: number,
): Promise<Trailer | null> {
  const offset = bytes.size - EXTENT_HEADER_SIZE
  if (offset < headerSize) return null
  const last = Buffer.allocUnsafe(EXTENT_HEADER_SIZE)
  await bytes.read(last, offset)
  const record = recordIn(last, uuid, offset)
  if (record?.kind !== CLOSING) return null
  const closing = decodeClosing(record)
  if (closing === null || !closing.hasIndex) return null
  checkPlace(closing, offset, headerSize)
  const table = await readTablePages(bytes, closing)
  return { table, extents: closing.extents, headerSize, end: closing.bytes }
}

/** The record in a header; null if these bytes are no header, because an archive that was cut ends with any bytes. */
function recordIn(header: Buffer, uuid: Uint8Array, offset: number): RecordExtent | null {
  try {
    return decodeExtentHeader(header, uuid, offset).record
  } catch {
    return null
  }
}

function checkPlace({ bytes, pages, extents, tableBytes }: Closing, offset: number, headerSize: number): void {
  if (bytes + pages * EXTENT_HEADER_SIZE !== offset || bytes < headerSize + extents * EXTENT_HEADER_SIZE)
    throw new VmapipeError('DAMAGED', 'the closing extent does not fit into the archive', { offset })
  if (tableBytes > INDEX_LIMIT)
    throw new VmapipeError('DAMAGED', `a table of ${tableBytes} bytes is too large`, { offset })
}

async function readTablePages(bytes: ArchiveBytes, closing: Closing): Promise<Buffer> {
  const { bytes: begin, pages, tableBytes, tableChecksum } = closing
  const table = Buffer.allocUnsafe(pages * RECORD_BYTES)
  const buffer = Buffer.allocUnsafe(Math.min(pages, PAGES_AT_ONCE) * EXTENT_HEADER_SIZE)
  for (let first = 0; first < pages; first += PAGES_AT_ONCE) {
    const count = Math.min(PAGES_AT_ONCE, pages - first)
    const headers = buffer.subarray(0, count * EXTENT_HEADER_SIZE)
    await bytes.read(headers, begin + first * EXTENT_HEADER_SIZE)
    for (let number = first; number < first + count; number++) {
      const at = (number - first) * EXTENT_HEADER_SIZE
      if (copyPage(headers, at, number, table, number * RECORD_BYTES)) continue
      const offset = begin + number * EXTENT_HEADER_SIZE
      throw new VmapipeError('DAMAGED', `page ${number} of the table is missing`, { offset })
    }
  }
  const whole = table.subarray(0, tableBytes)
  if (crc32(whole) === tableChecksum) return whole
  throw new VmapipeError('DAMAGED', 'the checksum of the table is wrong', { offset: begin })
}
