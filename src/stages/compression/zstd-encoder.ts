/** zstd frames (RFC 8878) by libzstd in libuv's pool. They declare their content's size and carry its checksum. */

import { promisify } from 'node:util'
import { constants, zstdCompress } from 'node:zlib'
import { chargedChunk, type FrameEncoder } from './encoder.ts'

const compress = promisify(zstdCompress)

export function zstdEncoder(level: number): FrameEncoder {
  const params = { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 }
  return {
    bound,
    encode(bytes, outputs, chunkSize) {
      // With room for all of the output libzstd works in one pass, straight from the input.
      const settings = { params, chunkSize, pledgedSrcSize: bytes.length }
      return chargedChunk(outputs, chunkSize, async () => [await compress(bytes, settings)])
    },
  }
}

/** ZSTD_COMPRESSBOUND, the checksum, and one byte, so that zlib does not allocate a second buffer. */
function bound(bytes: number): number {
  return bytes + (bytes >>> 8) + 256
}
