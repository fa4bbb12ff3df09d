/** Finds zeroes. A test of four bytes is enough for most blocks of data; a native comparison decides the rest. */

import { CLUSTER_SIZE } from './geometry.ts'

const ZEROES = Buffer.alloc(CLUSTER_SIZE)

/** Whether `length` bytes of `bytes` from `offset` are all zero. At most 65536 bytes. */
export function isZero(bytes: Uint8Array, offset: number, length: number): boolean {
  const last = offset + length - 1
  if ((bytes[offset] | bytes[last] | bytes[offset + (length >>> 1)] | bytes[offset + (length >>> 2)]) !== 0)
    return false
  return ZEROES.compare(bytes, offset, last + 1, 0, length) === 0
}

/** Up to 64 KiB of zeroes to write from. The buffer is shared: never write into it. */
export function zeroes(length: number): Buffer {
  return ZEROES.subarray(0, length)
}
