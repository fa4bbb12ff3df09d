/**
 * Calls liblz4, which most Linux systems have, by koffi: whole frames from memory to memory, one call in libuv's thread pool for each.
 * lz4-napi takes a call and memory of its own for every block. `liblz4()` is null if there is no koffi or no liblz4. The fallback is
 * then lz4-napi (codec.ts).
 */

import { loadKoffi } from '../../system/koffi.ts'
import { native } from '../../system/native.ts'

/** lz4frame.h. */
const LZ4F_VERSION = 100
const LZ4F_max256KB = 5
const LZ4F_blockIndependent = 1
const LZ4F_contentChecksumEnabled = 1
/** sizeof(LZ4F_preferences_t), and the places of its fields. */
const PREFERENCES = 56
const FIELD = { blockSize: 0, blockMode: 4, contentChecksum: 8, contentSize: 16, autoFlush: 36 }

/** Memory of liblz4, which one call at a time may use. */
interface Context {
  readonly opaque: never
}

/** The number of unused decoders that are kept. Each takes up to 600 KiB. */
const KEPT_DECODERS = 4

export interface Liblz4 {
  /**
   * Decodes one whole frame and checks its checksums. Returns the length of its content. Throws if the frame is wrong, if it does not end
   * at the end of `frame`, or if `content` is too small. Both buffers must not change until the promise settles.
   */
  decode(frame: Uint8Array, content: Buffer): Promise<number>
  /** Encodes one frame of independent blocks, with content size and checksum. `frame` has `lz4Bound` bytes. Returns its length. */
  encode(content: Uint8Array, frame: Buffer): Promise<number>
}

export const liblz4 = native(load)

function load(): Liblz4 {
  const lib = loadKoffi().load('liblz4.so.1')
  const decompress = lib.func('intptr_t LZ4F_decompress(void *, void *, void *, const void *, void *, const void *)')
  const compress = lib.func('intptr_t LZ4F_compressFrame(void *, size_t, const void *, size_t, const void *)')
  const errorName = lib.func('const char *LZ4F_getErrorName(intptr_t)')
  const create = lib.func('intptr_t LZ4F_createDecompressionContext(_Out_ void **, unsigned int)')
  const reset = lib.func('void LZ4F_resetDecompressionContext(void *)')
  const free = lib.func('intptr_t LZ4F_freeDecompressionContext(void *)')

  /** The result of a call in the pool. The callback refers to all memory, so that the garbage collector keeps it while the call runs. */
  const inPool = (call: typeof compress, args: unknown[]) =>
    new Promise<number>((resolve, reject) => {
      const kept = [...args]
      call.async(...args, (error: Error | null, result: number) => {
        kept.length = 0
        if (error) reject(error)
        else if (result < 0) reject(new Error(errorName(result)))
        else resolve(result)
      })
    })
  const decoders: Context[] = []
  const newDecoder = (): Context => {
    const made: [Context | null] = [null]
    const result = create(made, LZ4F_VERSION)
    if (result < 0 || made[0] === null) throw new Error(errorName(result))
    return made[0]
  }
  return {
    async decode(frame, content) {
      const decoder = decoders.pop() ?? newDecoder()
      try {
        const sizes = [content, frame].map(({ byteLength }) => sizeOf(byteLength))
        const more = await inPool(decompress, [decoder, content, sizes[0], frame, sizes[1], null])
        if (more !== 0 || Number(sizes[1].readBigUInt64LE()) !== frame.byteLength)
          throw new Error('the content does not fit, or the frame does not end here')
        return Number(sizes[0].readBigUInt64LE())
      } finally {
        reset(decoder)
        if (decoders.length < KEPT_DECODERS) decoders.push(decoder)
        else free(decoder)
      }
    },
    encode(content, frame) {
      const preferences = Buffer.alloc(PREFERENCES)
      preferences.writeUInt32LE(LZ4F_max256KB, FIELD.blockSize)
      preferences.writeUInt32LE(LZ4F_blockIndependent, FIELD.blockMode)
      preferences.writeUInt32LE(LZ4F_contentChecksumEnabled, FIELD.contentChecksum)
      preferences.writeBigUInt64LE(BigInt(content.byteLength), FIELD.contentSize)
      preferences.writeUInt32LE(1, FIELD.autoFlush)
      return inPool(compress, [frame, frame.byteLength, content, content.byteLength, preferences])
    },
  }
}

function sizeOf(bytes: number): Buffer {
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(bytes))
  return size
}
