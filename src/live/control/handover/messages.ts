/**
 * What a service and a process that archives for it say to each other. It begins with a request of HTTP: `POST /backup` with
 * `Upgrade: vmapipe-clusters`, and 101 as the answer. Numbers are big-endian, messages of the service have 24 bytes:
 *
 *   0   kind        8 bits
 *   1   drive       8 bits, dev_id
 *   4   first       32 bits, cluster
 *   8   count       32 bits, of clusters
 *   12  length      32 bits, bytes of data
 *   16  offset      64 bits, where the data is in the service's memory
 *
 * MANIFEST   first of all; behind it come `length` bytes, which are the header of an archive (formats/vma/header.ts)
 * ZEROES     clusters that read as zeroes
 * SHARED     clusters whose data is in the service's memory until it is given back; only if the other side shares that memory
 * INLINE     clusters whose data comes behind the message
 * END        every cluster has been told
 * WHOLE      everything has been given back in time: the archive made of it is whole
 *
 * The other side gives data back: 32 bits each, which SHARED message it was, counted from 0.
 */

import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount, roundUp } from '../../../core/geometry.ts'
import type { Manifest } from '../../../core/items.ts'

export const PROTOCOL = 'vmapipe-clusters'
/**
 * A header of the request: the inode of the service's memory that the other side shares. If that memory is another one by now, 412
 * is the answer. Without the header all data comes inline.
 */
export const MEMORY = 'Vmapipe-Memory'

export const MESSAGE_BYTES = 24
export const RETURN_BYTES = 4

export const Kind = { MANIFEST: 1, ZEROES: 2, SHARED: 3, INLINE: 4, END: 5, WHOLE: 6 } as const

export interface Message {
  kind: number
  drive: number
  first: number
  count: number
  length: number
  offset: number
}

const NOTHING = { drive: 0, first: 0, count: 0, length: 0, offset: 0 }

/** Writes the message to `into`, from byte `at` on. */
export function encodeMessage(message: Partial<Message> & Pick<Message, 'kind'>, into: Buffer, at = 0): void {
  const { kind, drive, first, count, length, offset } = { ...NOTHING, ...message }
  into.writeUInt32BE((kind << 24) | (drive << 16), at)
  into.writeUInt32BE(first, at + 4)
  into.writeUInt32BE(count, at + 8)
  into.writeUInt32BE(length, at + 12)
  into.writeBigUInt64BE(BigInt(offset), at + 16)
}

export function decodeMessage(bytes: Buffer): Message {
  return {
    kind: bytes[0],
    drive: bytes[1],
    first: bytes.readUInt32BE(4),
    count: bytes.readUInt32BE(8),
    length: bytes.readUInt32BE(12),
    offset: Number(bytes.readBigUInt64BE(16)),
  }
}

/** How many bytes these clusters have, in whole blocks; null if the manifest has no such clusters. */
export function bytesOf({ drive, first, count }: Message, manifest: Manifest): number | null {
  const size = manifest.drives.find(({ id }) => id === drive)?.size
  if (size === undefined || count === 0 || first + count > clusterCount(size)) return null
  return Math.min(count * CLUSTER_SIZE, roundUp(size, BLOCK_SIZE) - first * CLUSTER_SIZE)
}
