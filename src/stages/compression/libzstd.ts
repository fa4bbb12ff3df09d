/**
 * libzstd, which Node carries within itself and exports, by way of koffi: whole frames from memory to memory. Node's own
 * zlib makes a stream of every frame, with memory and a copy of its own, which takes as long as a small frame itself.
 * Null if koffi cannot be loaded or nothing is exported; then zstd-frames.ts uses Node's zlib.
 */

import { native } from '../../core/native.ts'
import { loadKoffi } from '../../storage/koffi.ts'

/** zstd.h, ZSTD_cParameter. */
const ZSTD_c_compressionLevel = 100
const ZSTD_c_checksumFlag = 201
/** zstd_errors.h. */
const ERROR_MEMORY_ALLOCATION = 64

/** Calls in libuv's pool at once for which koffi keeps stacks. */
const RESIDENT_CALLS = 8

/** Memory of libzstd's that one call at a time may use. */
export interface Context {
  readonly opaque: never
}

export interface Libzstd {
  /** One frame. Gives how long the content is; throws what is wrong with the frame, also that `content` is too small. */
  decode(context: Context, content: Buffer, frame: Uint8Array): number
  /** The same in libuv's pool. The memory of both stays as it is until the promise settles. */
  decodeInPool(context: Context, content: Buffer, frame: Uint8Array): Promise<number>
  /** One frame with the size of its content and a checksum, in libuv's pool. Gives how long it is. */
  encodeInPool(context: Context, frame: Buffer, content: Uint8Array): Promise<number>
  decoder(): Context
  encoder(level: number): Context
  freeDecoder(context: Context): void
  freeEncoder(context: Context): void
}

export const libzstd = native(load)

function load(): Libzstd {
  const koffi = loadKoffi()
  // Once it has been used it cannot be set any more, which is no reason to do without.
  try {
    koffi.config({ ...koffi.config(), resident_async_pools: RESIDENT_CALLS })
  } catch {}
  const node = koffi.load(null)
  // Of size_t, which errors are in as negative numbers.
  const whole = 'void *, void *, size_t, const void *, size_t'
  const decompress = node.func(`intptr_t ZSTD_decompressDCtx(${whole})`)
  const compress = node.func(`intptr_t ZSTD_compress2(${whole})`)
  const errorName = node.func('const char *ZSTD_getErrorName(intptr_t)')
  const createDCtx = node.func('void *ZSTD_createDCtx()')
  const createCCtx = node.func('void *ZSTD_createCCtx()')
  const setParameter = node.func('intptr_t ZSTD_CCtx_setParameter(void *, int, int)')
  const freeDCtx = node.func('size_t ZSTD_freeDCtx(void *)')
  const freeCCtx = node.func('size_t ZSTD_freeCCtx(void *)')

  const failure = (code: number) => {
    const error = code === -ERROR_MEMORY_ALLOCATION ? 'ZSTD_error_memory_allocation' : 'ZSTD_error'
    return Object.assign(new Error(errorName(code)), { code: error })
  }
  const checked = (length: number) => {
    if (length < 0) throw failure(length)
    return length
  }
  const created = (context: Context | null) => {
    if (context === null) throw failure(-ERROR_MEMORY_ALLOCATION)
    return context
  }
  const inPool = (call: typeof compress, context: Context, to: Buffer, from: Uint8Array) =>
    new Promise<number>((resolve, reject) => {
      // While it runs, nobody else may know of the memory any more: what the callback knows of is not collected.
      const memory = [to, from]
      call.async(context, to, to.byteLength, from, from.byteLength, (error: Error | null, length: number) => {
        memory.length = 0
        if (error) reject(error)
        else if (length < 0) reject(failure(length))
        else resolve(length)
      })
    })
  return {
    decode: (context, content, frame) =>
      checked(decompress(context, content, content.byteLength, frame, frame.byteLength)),
    decodeInPool: (context, content, frame) => inPool(decompress, context, content, frame),
    encodeInPool: (context, frame, content) => inPool(compress, context, frame, content),
    decoder: () => created(createDCtx()),
    encoder(level) {
      const context = created(createCCtx())
      checked(setParameter(context, ZSTD_c_compressionLevel, level))
      checked(setParameter(context, ZSTD_c_checksumFlag, 1))
      return context
    },
    freeDecoder: (context) => void freeDCtx(context),
    freeEncoder: (context) => void freeCCtx(context),
  }
}
