/** zstd frames (RFC 8878) by libzstd in libuv's pool. They declare their content's size and carry its checksum. */

import { constants, createZstdCompress, type ZstdOptions } from 'node:zlib'
import { chargedChunk, type FrameEncoder } from './encoder.ts'

const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag, ZSTD_e_end } = constants

export function zstdEncoder(level: number): FrameEncoder {
  const params = { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: 1 }
  return {
    bound,
    encode: (bytes, outputs, chunkSize) =>
      chargedChunk(outputs, chunkSize, () => compress(bytes, { params, chunkSize, pledgedSrcSize: bytes.length })),
  }
}

/** ZSTD_COMPRESSBOUND, the checksum, and one byte, so that zlib does not allocate a second buffer. */
function bound(bytes: number): number {
  return bytes + (bytes >>> 8) + 256
}

/**
 * With all of the input, the order to end and room for all of the output at once, libzstd works in one pass, straight from
 * the input. `zstdCompress` gives that order after the input: libzstd then copies it, takes a third longer, and the
 * memory for the copy makes V8 collect garbage every few frames.
 */
function compress(bytes: Buffer, options: ZstdOptions): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const engine = createZstdCompress({ ...options, flush: ZSTD_e_end })
    const frame: Buffer[] = []
    engine.on('data', (piece) => frame.push(piece))
    engine.on('error', reject)
    engine.write(bytes, (error) => {
      engine.destroy()
      if (error) reject(error)
      else resolve(frame)
    })
  })
}
