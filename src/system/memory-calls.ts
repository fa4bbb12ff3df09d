/**
 * Work on memory in libuv's pool, beside the event loop: copies and CRC-32, by the C library and the zlib that Node has. Null if koffi
 * cannot be loaded, or if Node's zlib cannot be called.
 */

import { loadKoffi, type NativeFunction } from './koffi.ts'
import { native } from './native.ts'

interface MemoryCalls {
  /** Copies all of `from` to the beginning of `to`. Both must stay, and must not change, until then. */
  copy(to: Uint8Array, from: Uint8Array): Promise<void>
  /** The CRC-32 of these bytes, which must not change until then. */
  crc32(bytes: Uint8Array): Promise<number>
  /** The CRC-32 of bytes with the CRC-32 `first`, and of `length` others with the CRC-32 `second` behind them. */
  joinCrc32(first: number, second: number, length: number): number
}

export const memoryCalls = native(load)

/** The CRC-32 of these bytes (the check value of its catalogue), and of its parts. */
const CHECKED = { bytes: Buffer.from('123456789'), crc32: 0xcbf43926 }

function load(): MemoryCalls {
  const node = loadKoffi().load(null)
  const memcpy = node.func('void *memcpy(void *, const void *, size_t)')
  const crc32 = node.func('unsigned long crc32_z(unsigned long, const void *, size_t)')
  const combine = node.func('unsigned long crc32_combine(unsigned long, unsigned long, long)')
  const crcOf = (bytes: Uint8Array) => Number(crc32(0, bytes, bytes.byteLength))
  const joinCrc32 = (first: number, second: number, length: number) => Number(combine(first, second, length))
  const [begin, end] = [CHECKED.bytes.subarray(0, 4), CHECKED.bytes.subarray(4)]
  if (joinCrc32(crcOf(begin), crcOf(end), end.length) !== CHECKED.crc32) throw new Error('another CRC-32')
  return {
    joinCrc32,
    crc32: async (bytes) => Number(await inPool(crc32, [0, bytes, bytes.byteLength], [bytes])),
    async copy(to, from) {
      if (from.byteLength > to.byteLength) throw new RangeError('the target of a copy is too small')
      await inPool(memcpy, [to, from, from.byteLength], [to, from])
    },
  }
}

/** The callback refers to the memory, so that the garbage collector keeps it while the call runs. */
function inPool(call: NativeFunction, args: unknown[], memory: Uint8Array[]): Promise<number | bigint> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error: Error | null, value: number | bigint) => {
      memory.length = 0
      if (error) reject(error)
      else resolve(value)
    })
  })
}
