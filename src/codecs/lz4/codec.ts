/**
 * Encodes and decodes LZ4 blocks by lz4-napi. A block has the size of its content before it, as a 32-bit integer. If that package's
 * compiled code cannot be loaded, the fallback for decoding is plain JavaScript, several times slower. Encoding has no fallback.
 */

import { VmapipeError } from '../../core/errors.ts'
import { decodeLz4Block } from '../../formats/lz4/block.ts'
import { native, requireCompiled } from '../../system/native.ts'

/** Bytes before a block: the size of its content. */
export const PREFIX = 4

export interface Lz4Codec {
  compress(content: Uint8Array): Promise<Buffer>
  uncompress(block: Buffer): Promise<Buffer>
  uncompressSync(block: Buffer, history?: Buffer): Buffer
}

const compiled = native(() => requireCompiled('lz4-napi') as Lz4Codec)

const plainLz4: Pick<Lz4Codec, 'uncompress' | 'uncompressSync'> = {
  uncompress: async (block) => decode(block),
  uncompressSync: decode,
}

export function lz4Decoder(): Pick<Lz4Codec, 'uncompress' | 'uncompressSync'> {
  return compiled() ?? plainLz4
}

/** Throws FAILED without compiled code. */
export function lz4Compressor(): Pick<Lz4Codec, 'compress'> {
  const codec = compiled()
  if (codec === null) {
    throw new VmapipeError('FAILED', 'LZ4 compression needs the compiled code of lz4-napi, which cannot be loaded', {
      hint: `compress by zstd or gzip; npm installs that code unless it is told --omit=optional, if it exists for ${process.platform} ${process.arch}`,
    })
  }
  return codec
}

function decode(block: Buffer, history?: Buffer): Buffer {
  return decodeLz4Block(block.subarray(PREFIX), block.readUInt32LE(), history)
}
