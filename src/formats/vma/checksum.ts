/** Encodes and decodes the checksum of an extent's blocks in its last slot (README.md beside this file, section 1). */

import { crc32 } from 'node:zlib'

const MARK = 0x5643 // "VC"
export const CRC32 = 1
/** BLAKE3 over the hashes of the clusters. */
export const BLAKE3 = 2

export interface ExtentChecksum {
  /** CRC32 or BLAKE3. Others are not known. */
  algorithm: number
  value: number
}

/** The CRC-32 of buffers that follow each other in the archive. */
export function checksumOf(buffers: readonly Uint8Array[]): number {
  let value = 0
  for (const bytes of buffers) value = crc32(bytes, value)
  return value
}

/** Writes the 8 bytes of the slot at `at`. */
export function encodeChecksum(header: Buffer, at: number, { algorithm, value }: ExtentChecksum): void {
  header.writeUInt16BE(MARK, at)
  header[at + 2] = algorithm
  header[at + 3] = 0
  header.writeUInt32BE(value, at + 4)
}

/** Decodes the slot at `at`; null if it is no checksum. */
export function decodeChecksum(header: Buffer, at: number): ExtentChecksum | null {
  if (header.readUInt16BE(at) !== MARK || header[at + 3] !== 0) return null
  return { algorithm: header[at + 2], value: header.readUInt32BE(at + 4) }
}
