/** Reads the content size that a frame declares, without decoding it. */

import { recognise } from '../formats/compression.ts'
import { decodeLz4Header, LZ4_HEADER_LIMIT, lz4HeaderLength } from '../formats/lz4/frame.ts'
import { decodeZstdHeader, ZSTD_HEADER_LIMIT, zstdHeaderLength } from '../formats/zstd/frame.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'

const START = Math.max(LZ4_HEADER_LIMIT, ZSTD_HEADER_LIMIT)

/** The content size of the frame of `length` bytes at `offset`; undefined if it does not declare one. Throws DAMAGED. */
export async function declaredContent(file: ArchiveBytes, offset: number, length: number): Promise<number | undefined> {
  const start = Buffer.allocUnsafe(Math.min(START, length))
  await file.read(start, offset)
  const format = recognise(start)
  if (format === 'skippable') return 0
  if (format === 'zstd' && length > 4 && zstdHeaderLength(start[4]) <= length)
    return decodeZstdHeader(start, offset).contentSize
  if (format === 'lz4' && length > 4 && lz4HeaderLength(start) <= length)
    return decodeLz4Header(start.subarray(0, lz4HeaderLength(start)), offset).contentSize
  if (format !== 'gzip' || length < 4) return undefined
  // ISIZE, RFC 1952, section 2.3.1.
  const trailer = start.subarray(0, 4)
  await file.read(trailer, offset + length - 4)
  return trailer.readUInt32LE()
}
