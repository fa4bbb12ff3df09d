/**
 * Calls libzstd, which is part of Node and exported by it, by koffi: from memory to memory. Node's own zlib makes a stream of every frame,
 * with memory and a copy of its own, which takes as long as a small frame itself, and twice as long for a large one. `libzstd()` is null
 * if koffi cannot be loaded or Node exports nothing. The fallback is then Node's zlib (frames.ts, large-frame.ts).
 */

import { loadKoffi } from '../../system/koffi.ts'
import { native } from '../../system/native.ts'

/** zstd.h, ZSTD_cParameter. */
const ZSTD_c_compressionLevel = 100
const ZSTD_c_checksumFlag = 201
/** zstd.h, ZSTD_dParameter. */
const ZSTD_d_windowLogMax = 100
/** zstd_errors.h. */
const ERROR_MEMORY_ALLOCATION = 64

/** The number of parallel calls in libuv's thread pool that koffi keeps stacks for. */
const RESIDENT_CALLS = 8

/** Memory of libzstd, which one call at a time may use. */
export interface Context {
  readonly opaque: never
}

/** What a call for a part of a frame has done: bytes it has read and written, and whether the frame has ended. */
interface Step {
  read: number
  written: number
  ended: boolean
}

export interface Libzstd {
  /** Decodes one frame and returns the length of the content. Throws if the frame is wrong or `content` is too small. */
  decode(context: Context, content: Buffer, frame: Uint8Array): number
  /** The same in libuv's thread pool. Both buffers must not change until the promise settles. */
  decodeInPool(context: Context, content: Buffer, frame: Uint8Array): Promise<number>
  /** Encodes one frame with its content size and a checksum, in libuv's thread pool. Returns its length. */
  encodeInPool(context: Context, frame: Buffer, content: Uint8Array): Promise<number>
  /**
   * Decodes a part of a frame in libuv's thread pool: until `input` is used up, or `output` is full, or the frame ends. Throws if the frame
   * is wrong. Both buffers must not change until the promise settles.
   */
  decodePart(context: Context, output: Buffer, input: Uint8Array): Promise<Step>
  decoder(): Context
  /** For a frame that is decoded in parts, with a window of at most 2 ** `windowLog` bytes. */
  partDecoder(windowLog: number): Context
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
  const compress = node.func(`intptr_t ZSTD_compress2(${whole})`)
  const errorName = node.func('const char *ZSTD_getErrorName(intptr_t)')
  const decompressPart = node.func(
    'intptr_t ZSTD_decompressStream_simpleArgs(void *, void *, size_t, void *, const void *, size_t, void *)',
  )
  const limitDecoder = node.func('intptr_t ZSTD_DCtx_setParameter(void *, int, int)')
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
      // The callback refers to the memory so that the garbage collector keeps it while the call runs.
      const memory = [to, from]
      call.async(context, to, to.byteLength, from, from.byteLength, (error: Error | null, length: number) => {
        memory.length = 0
        if (error) reject(error)
        else if (length < 0) reject(failure(length))
        else resolve(length)
      })
    })
  const part = (context: Context, output: Buffer, input: Uint8Array) =>
    new Promise<Step>((resolve, reject) => {
      // Of type size_t, in memory that the garbage collector does not move, as it may that of a small array.
      const [written, read] = [new BigUint64Array(new ArrayBuffer(8)), new BigUint64Array(new ArrayBuffer(8))]
      const memory = [output, input]
      const args = [output, output.byteLength, written, input, input.byteLength, read]
      decompressPart.async(context, ...args, (error: Error | null, wanted: number) => {
        memory.length = 0
        if (error) reject(error)
        else if (wanted < 0) reject(failure(wanted))
        else resolve({ read: Number(read[0]), written: Number(written[0]), ended: wanted === 0 })
      })
    })
  return {
    decodePart: part,
    decode: (context, content, frame) =>
      checked(decompress(context, content, content.byteLength, frame, frame.byteLength)),
    decodeInPool: (context, content, frame) => inPool(decompress, context, content, frame),
    encodeInPool: (context, frame, content) => inPool(compress, context, frame, content),
    decoder: () => created(createDCtx()),
    partDecoder(windowLog) {
      const context = created(createDCtx())
      checked(limitDecoder(context, ZSTD_d_windowLogMax, windowLog))
      return context
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
