/**
 * Calls libzstd, which is part of Node and exported by it, by koffi: whole frames from memory to memory. Node's own zlib makes a
 * stream of every frame, with memory and a copy of its own, which takes as long as a small frame itself. `libzstd()` is null if koffi
 * cannot be loaded or Node exports nothing. The fallback is then Node's zlib (frames.ts).
 */

import { loadKoffi } from '../../system/koffi.ts'
import { native } from '../../system/native.ts'

/** zstd.h, ZSTD_cParameter. */
const ZSTD_c_compressionLevel = 100
const ZSTD_c_checksumFlag = 201
/** zstd.h, ZSTD_dParameter: ZSTD_d_stableOutBuffer, which is ZSTD_d_experimentalParam2. */
const ZSTD_d_stableOutBuffer = 1001
/** zstd.h, ZSTD_ResetDirective. */
const ZSTD_reset_session_only = 1
/** The number of unused stream decoders that are kept. Each takes 300 KiB. */
const KEPT_STREAMS = 4
/** zstd_errors.h. */
const ERROR_MEMORY_ALLOCATION = 64

/** The number of parallel calls in libuv's thread pool that koffi keeps stacks for. */
const RESIDENT_CALLS = 8

/** Memory of libzstd, which one call at a time may use. */
export interface Context {
  readonly opaque: never
}

export interface Libzstd {
  /** Decodes one frame and returns the length of the content. Throws if the frame is wrong or `content` is too small. */
  decode(context: Context, content: Buffer, frame: Uint8Array): number
  /** The same in libuv's thread pool. Both buffers must not change until the promise settles. */
  decodeInPool(context: Context, content: Buffer, frame: Uint8Array): Promise<number>
  /**
   * Decodes the next bytes of a frame in libuv's thread pool. The context comes from `streamDecoder`, and `content` is the same memory in
   * all calls for one frame. Returns how many bytes of content there are now; `done` is what the last call returned.
   */
  decodeMoreInPool(context: Context, content: Buffer, done: number, input: Uint8Array): Promise<number>
  /** Encodes one frame with its content size and a checksum, in libuv's thread pool. Returns its length. */
  encodeInPool(context: Context, frame: Buffer, content: Uint8Array): Promise<number>
  decoder(): Context
  /** For a frame that is decoded step by step, straight into its content. It is given back to `endStream`. */
  streamDecoder(): Context
  endStream(context: Context): void
  encoder(level: number): Context
  freeDecoder(context: Context): void
  freeEncoder(context: Context): void
}

export const libzstd = native(load)

function load(): Libzstd {
  const koffi = loadKoffi()
  // koffi cannot be configured any more after its first call, which does no harm.
  try {
    koffi.config({ ...koffi.config(), resident_async_pools: RESIDENT_CALLS })
  } catch {}
  const node = koffi.load(null)
  // A size_t, in which errors are negative numbers.
  const whole = 'void *, void *, size_t, const void *, size_t'
  const decompress = node.func(`intptr_t ZSTD_decompressDCtx(${whole})`)
  const decompressMore = node.func(
    'intptr_t ZSTD_decompressStream_simpleArgs(void *, void *, size_t, void *, const void *, size_t, void *)',
  )
  const compress = node.func(`intptr_t ZSTD_compress2(${whole})`)
  const errorName = node.func('const char *ZSTD_getErrorName(intptr_t)')
  const createDCtx = node.func('void *ZSTD_createDCtx()')
  const createCCtx = node.func('void *ZSTD_createCCtx()')
  const setParameter = node.func('intptr_t ZSTD_CCtx_setParameter(void *, int, int)')
  const setDecoding = node.func('intptr_t ZSTD_DCtx_setParameter(void *, int, int)')
  const resetDCtx = node.func('intptr_t ZSTD_DCtx_reset(void *, int)')
  const streamDecoders: Context[] = []
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
      // The callback refers to the memory so that the garbage collector keeps it while the call runs.
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
    decodeMoreInPool: (context, content, done, input) =>
      new Promise((resolve, reject) => {
        const positions = [new BigUint64Array([BigInt(done)]), new BigUint64Array(1)]
        const memory = [content, input]
        const taken = (error: Error | null, code: number) => {
          memory.length = 0
          if (error) reject(error)
          else if (code < 0) reject(failure(code))
          else if (Number(positions[1][0]) < input.byteLength) reject(new Error('the frame ends too early'))
          else resolve(Number(positions[0][0]))
        }
        const into = [content, content.byteLength, positions[0]]
        decompressMore.async(context, ...into, input, input.byteLength, positions[1], taken)
      }),
    encodeInPool: (context, frame, content) => inPool(compress, context, frame, content),
    decoder: () => created(createDCtx()),
    streamDecoder() {
      const unused = streamDecoders.pop()
      if (unused !== undefined) {
        checked(resetDCtx(unused, ZSTD_reset_session_only))
        return unused
      }
      const context = created(createDCtx())
      checked(setDecoding(context, ZSTD_d_stableOutBuffer, 1))
      return context
    },
    endStream(context) {
      if (streamDecoders.length < KEPT_STREAMS) streamDecoders.push(context)
      else freeDCtx(context)
    },
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
