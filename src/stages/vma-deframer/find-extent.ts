/**
 * Finds an extent behind damage by its magic number, its reserved zeroes, the archive's uuid and a right MD5. All other bytes are a
 * guest's data. It searches for the magic number and not for the uuid: a uuid may be all zeroes, which are everywhere.
 */

import type { ByteQueue } from '../../core/byte-queue.ts'
import { digestMatches, EXTENT_HEADER_SIZE, EXTENT_MAGIC, UUID } from '../../formats/vma/extent-header.ts'

const NEEDLE = Buffer.alloc(6)
NEEDLE.writeUInt32BE(EXTENT_MAGIC)

/** Skips bytes until an extent begins. Returns false if more bytes must come first. */
export function skipToExtent(queue: ByteQueue, uuid: Buffer): boolean {
  for (;;) {
    const at = queue.indexOf(NEEDLE)
    if (at < 0) {
      queue.skip(Math.max(0, queue.length - NEEDLE.length + 1))
      return false
    }
    queue.skip(at)
    if (queue.length < EXTENT_HEADER_SIZE) return false
    if (isExtent(Buffer.concat(queue.look(EXTENT_HEADER_SIZE)), uuid)) return true
    queue.skip(1)
  }
}

/** The place in these bytes of an extent with a whole header; -1 if there is none. */
export function extentWithin(bytes: Buffer, uuid: Buffer): number {
  for (let at = bytes.indexOf(NEEDLE); at >= 0; at = bytes.indexOf(NEEDLE, at + 1)) {
    const header = bytes.subarray(at, at + EXTENT_HEADER_SIZE)
    if (header.length === EXTENT_HEADER_SIZE && isExtent(header, uuid)) return at
  }
  return -1
}

function isExtent(header: Buffer, uuid: Buffer): boolean {
  return uuid.compare(header, UUID, UUID + uuid.length) === 0 && digestMatches(header)
}
