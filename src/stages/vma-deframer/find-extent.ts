/** Finds an extent where none is expected: our uuid, the magic before it, an MD5 that is right. All else is a guest's data. */

import type { ByteQueue } from '../../core/byte-queue.ts'
import { digestMatches, EXTENT_HEADER_SIZE, EXTENT_MAGIC, UUID } from '../../formats/vma/extent-header.ts'

/** Passes over bytes until an extent begins; false where more must come first. */
export function skipToExtent(queue: ByteQueue, uuid: Buffer): boolean {
  for (;;) {
    const at = queue.indexOf(uuid)
    if (at < 0) {
      queue.skip(Math.max(0, queue.length - (UUID + uuid.length - 1)))
      return false
    }
    if (at >= UUID) {
      queue.skip(at - UUID)
      if (queue.length < EXTENT_HEADER_SIZE) return false
      if (isExtent(queue.peek(EXTENT_HEADER_SIZE))) return true
    }
    queue.skip(Math.min(at, UUID) + 1)
  }
}

/** Where in these bytes an extent begins whose header is all there; -1 where none does. */
export function extentWithin(bytes: Buffer, uuid: Buffer): number {
  for (let at = bytes.indexOf(uuid, UUID); at >= 0; at = bytes.indexOf(uuid, at + 1)) {
    const header = bytes.subarray(at - UUID, at - UUID + EXTENT_HEADER_SIZE)
    if (header.length === EXTENT_HEADER_SIZE && isExtent(header)) return at - UUID
  }
  return -1
}

function isExtent(header: Buffer): boolean {
  return header.readUInt32BE(0) === EXTENT_MAGIC && digestMatches(header)
}
