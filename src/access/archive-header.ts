/** Reads the header of an archive that can be read in any order. */

import { VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { decodeHeader, HEADER_START, headerSize } from '../formats/vma/header.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'

export interface ArchiveHeader {
  manifest: Manifest
  /** Bytes before the first extent. */
  headerSize: number
}

/** Reads the header. Throws DAMAGED, INCOMPLETE. */
export async function readHeader(bytes: ArchiveBytes): Promise<ArchiveHeader> {
  const start = await readStart(bytes, HEADER_START)
  const header = await readStart(bytes, headerSize(start))
  return { manifest: decodeHeader(header), headerSize: header.length }
}

async function readStart(bytes: ArchiveBytes, length: number): Promise<Buffer> {
  if (bytes.size < length) {
    const what = bytes.size === 0 ? 'the archive is empty' : 'the archive ends within its header'
    throw new VmapipeError('INCOMPLETE', what, { offset: bytes.size })
  }
  const start = Buffer.alloc(length)
  await bytes.read(start, 0)
  return start
}
