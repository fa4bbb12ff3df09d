/**
 * The layout of an extent header: the 512 bytes before the blocks (vma_spec.txt, "VMA Extent Header"), big endian:
 *
 *   0 magic  4 reserved  6 block_count  8 uuid  24 md5  40 slots[59]: mask(2) reserved(1) dev_id(1) cluster_num(4)
 */

import { hash } from 'node:crypto'

export const EXTENT_MAGIC = 0x564d4145 // "VMAE"
export const EXTENT_HEADER_SIZE = 512
export const SLOTS = 59
export const BLOCK_COUNT = 6
export const UUID = 8
export const SLOT_TABLE = 40
const MD5 = 24

/** Headers that have memory together: memory for each would be most of the work of a hole, which is headers alone. */
const SLAB_HEADERS = 128

let slab: Buffer = Buffer.alloc(0)
let used = 0

/** A new header without slots. */
export function startExtent(uuid: Uint8Array): Buffer {
  if (used === slab.length) {
    slab = Buffer.alloc(SLAB_HEADERS * EXTENT_HEADER_SIZE)
    used = 0
  }
  const header = slab.subarray(used, used + EXTENT_HEADER_SIZE)
  used += EXTENT_HEADER_SIZE
  header.writeUInt32BE(EXTENT_MAGIC, 0)
  header.set(uuid, UUID)
  return header
}

/** Completes a header with its block count and MD5, and returns it. */
export function sealExtent(header: Buffer, blocks: number): Buffer {
  header.writeUInt16BE(blocks, BLOCK_COUNT)
  header.write(digestOf(header), MD5, 'latin1')
  return header
}

/** Whether the MD5 of the header is right. It covers the whole header, with zeroes in place of the MD5 itself. */
export function digestMatches(header: Buffer): boolean {
  const claimed = header.toString('latin1', MD5, MD5 + 16)
  header.fill(0, MD5, MD5 + 16)
  const actual = digestOf(header)
  header.write(claimed, MD5, 'latin1')
  return actual === claimed
}

/** A letter for each byte: Node takes twice as long to give bytes. */
function digestOf(header: Buffer): string {
  return hash('md5', header, 'binary')
}
