/** Encodes and decodes whole zstd frames (RFC 8878) from memory to memory: by libzstd, with Node's zlib as the fallback. */

import { promisify } from 'node:util'
import { constants, createZstdCompress, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { wholeContent } from '../content-memory.ts'
import { type Context, type Libzstd, libzstd } from './libzstd.ts'

interface ZstdFrames {
  /**
   * Decodes one frame in libuv's thread pool and returns the length of its content. Throws if the frame is wrong or `content` is too
   * small. Both buffers must not change until the promise settles.
   */
  decode(frame: Uint8Array, content: Buffer): Promise<number>
  /** The same in the calling thread. */
  decodeNow(frame: Uint8Array, content: Buffer): number
  encoder(level: number): ZstdFrameEncoder
}

interface ZstdFrameEncoder {
  /** Encodes one frame with its content size and a checksum, in libuv's thread pool. `frame` has `zstdBound` bytes. */
  encode(content: Uint8Array, frame: Buffer): Promise<number>
  /** Call it when nothing is being encoded. */
  close(): void
}

/** At least ZSTD_COMPRESSBOUND and the checksum. */
export function zstdBound(bytes: number): number {
  return bytes + (bytes >>> 8) + 256
}

let chosen: ZstdFrames | undefined

export function zstdFrames(): ZstdFrames {
  if (chosen === undefined) {
    const native = libzstd()
    chosen = native === null ? byZlib : byLibzstd(native)
  }
  return chosen
}

/** The number of unused decoders that are kept. Each takes 160 KiB. */
const KEPT_DECODERS = 8

export function byLibzstd(native: Libzstd): ZstdFrames {
  const decoders: Context[] = []
  const keep = (decoder: Context) => {
    if (decoders.length < KEPT_DECODERS) decoders.push(decoder)
    else native.freeDecoder(decoder)
  }
  return {
    async decode(frame, content) {
      const decoder = decoders.pop() ?? native.decoder()
      try {
        return await native.decodeInPool(decoder, content, frame)
      } finally {
        keep(decoder)
      }
    },
    decodeNow(frame, content) {
      const decoder = decoders.pop() ?? native.decoder()
      try {
        return native.decode(decoder, content, frame)
      } finally {
        keep(decoder)
      }
    },
    encoder(level) {
      const encoders: Context[] = []
      return {
        async encode(content, frame) {
          const encoder = encoders.pop() ?? native.encoder(level)
          try {
            return await native.encodeInPool(encoder, frame, content)
          } finally {
            encoders.push(encoder)
          }
        },
        close() {
          for (const encoder of encoders.splice(0)) native.freeEncoder(encoder)
        },
      }
    },
  }
}

const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag, ZSTD_d_windowLogMax, ZSTD_e_end } = constants
const decompress = promisify(zstdDecompress)

function decoding({ byteLength }: Buffer) {
  return { ...wholeContent(byteLength), params: { [ZSTD_d_windowLogMax]: 31 } }
}

export const byZlib: ZstdFrames = {
  async decode(frame, content) {
    return (await decompress(frame, decoding(content))).copy(content)
  },
  decodeNow(frame, content) {
    return zstdDecompressSync(frame, decoding(content)).copy(content)
  },
  encoder(level) {
    const params = { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: 1 }
    return {
      encode(content, frame) {
        return new Promise((resolve, reject) => {
          // libzstd works in one pass if it gets all input, the order to end, and room for all output at once.
          const chunkSize = zstdBound(content.byteLength)
          const pledgedSrcSize = content.byteLength
          const engine = createZstdCompress({ params, chunkSize, pledgedSrcSize, flush: ZSTD_e_end })
          let filled = 0
          engine.on('data', (piece: Buffer) => {
            filled += piece.copy(frame, filled)
          })
          engine.on('error', reject)
          engine.write(content, (error) => {
            engine.destroy()
            if (error) reject(error)
            else resolve(filled)
          })
        })
      },
      close() {},
    }
  },
}
