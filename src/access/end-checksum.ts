/** Makes the checksum of an archive's end, by which its children know their parent. */

import { blake3 } from 'hash-wasm'
import { isClosing } from '../formats/vma/closing.ts'
import { EXTENT_HEADER_SIZE } from '../formats/vma/extent.ts'
import type { OpenFile } from './open-file.ts'

/** Bits of a checksum of an end. */
const BITS = 128

/** The checksum of the closing extent; of an archive without one, that of the header of its last extent. */
export async function endOf({ bytes, parts: { index }, manifest }: OpenFile): Promise<Buffer> {
  const header = Buffer.alloc(EXTENT_HEADER_SIZE)
  const last = bytes.size - EXTENT_HEADER_SIZE
  await bytes.read(header, Math.max(0, last))
  if (!isClosing(header, manifest.uuid) && index.extents > 0) await bytes.read(header, index.offsets[index.extents - 1])
  return Buffer.from(await blake3(header, BITS), 'hex')
}
