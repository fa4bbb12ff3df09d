/**
 * Finds an extent where none is expected: magic number, reserved zeroes, our uuid, an MD5 that is right. All else is a
 * guest's data. What is searched for is the magic number, as a uuid may be anything: zeroes are everywhere.
 */

import type { ByteQueue } from '../../core/byte-queue.ts'
import { digestMatches, EXTENT_HEADER_SIZE, EXTENT_MAGIC, UUID } from '../../formats/vma/extent-header.ts'

const NEEDLE = Buffer.alloc(6)
NEEDLE.writeUInt32BE(EXTENT_MAGIC)

/** Passes over bytes until an extent begins; false if more must come first. */
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

/** Where in these bytes an extent begins whose header is all there; -1 if none does. */
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
