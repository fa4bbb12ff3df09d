/** Reads the content size that a frame declares, without decoding it. */

import { recognise } from '../formats/compression.ts'
import { MEMBER_TRAILER_SIZE, memberContentSize } from '../formats/gzip/member.ts'
import { LZ4_HEADER_LIMIT, readLz4Header } from '../formats/lz4/frame.ts'
import { readZstdHeader, ZSTD_HEADER_LIMIT } from '../formats/zstd/frame.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'

const START = Math.max(LZ4_HEADER_LIMIT, ZSTD_HEADER_LIMIT)

/** The content size of the frame of `length` bytes at `offset`; undefined if it does not declare one. Throws DAMAGED. */
export async function declaredContent(file: ArchiveBytes, offset: number, length: number): Promise<number | undefined> {
  const start = Buffer.allocUnsafe(Math.min(START, length))
  await file.read(start, offset)
  const format = recognise(start)
  if (format === 'skippable') return 0
  if (format === 'zstd') return readZstdHeader(start, offset)?.contentSize
  if (format === 'lz4') return readLz4Header(start, offset)?.contentSize
  if (format !== 'gzip' || length < MEMBER_TRAILER_SIZE) return undefined
  const trailer = start.subarray(0, MEMBER_TRAILER_SIZE)
  await file.read(trailer, offset + length - MEMBER_TRAILER_SIZE)
  return memberContentSize(trailer)
}
