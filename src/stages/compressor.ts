/**
 * Compresses the archive in independent frames, so that frames are compressed and decompressed in parallel and damage stays within
 * one frame. A frame has whole chunks as long as they fit. The zstd, lz4 and gzip tools read frames that follow each other as one file. The archive's header,
 * its trailer and each group of hashes have frames of their own, so that a reader that looks something up there reads nothing else.
 */

import type { FrameEncoder } from '../codecs/frame-encoder.ts'
import { planFrames } from '../codecs/frame-plan.ts'
import { gzipEncoder } from '../codecs/gzip/encoder.ts'
import { lz4Encoder } from '../codecs/lz4/encoder.ts'
import { OrderedTasks } from '../codecs/ordered-tasks.ts'
import { zstdEncoder } from '../codecs/zstd/encoder.ts'
import type { Budget, Slab } from '../core/budget.ts'
import { Chunk } from '../core/items.ts'
import { byteSize } from '../core/size-option.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { FrameMapWriter } from '../formats/frame-map/frame-map.ts'

const METHODS = {
  zstd: { level: 3, allowed: (level: number) => (level >= -7 && level <= -1) || (level >= 1 && level <= 19) },
  lz4: { level: undefined, allowed: () => false },
  gzip: { level: 6, allowed: (level: number) => level >= 1 && level <= 9 },
  none: { level: undefined, allowed: () => false },
}

const LEVELS = { zstd: '-7 to -1 or 1 to 19', lz4: 'none', gzip: '1 to 9', none: 'none' }

/**
 * 4 MiB and the headers of four extents of a live backup, which have 16 clusters each. A full extent fits, so damage in a frame costs no more
 * than such an extent. Archives are then hardly larger than in one frame, while frames of 1 MiB cost 5 % (bench/frames.ts).
 */
const FRAME = (4 << 20) + 4096
/** If memory is short, frames shrink to a quarter of that before a processor has no frame to compress. */
const AMPLE_FRAME = FRAME / 4

const options = z
  .strictObject({
    method: z.enum(['zstd', 'lz4', 'gzip', 'none']).default('zstd').describe('how to compress'),
    level: z.int().optional().describe('zstd: -7 to -1 (fast) or 1 to 19, 3 if left out; gzip: 1 to 9, 6 if left out'),
    frame: byteSize({ min: 1 << 14, max: 1 << 30, example: '1MiB' })
      .optional()
      .describe(
        'bytes of the archive in one independent frame; if left out 4 MiB, or less if all processors need the memory',
      ),
    map: z.boolean().default(true).describe('add a map of the frames at the end of the archive'),
  })
  .superRefine(({ method, level }, context) => {
    if (level === undefined || METHODS[method].allowed(level)) return
    const message = `the levels of ${method} are ${LEVELS[method]}, got ${level}`
    context.addIssue({ code: 'custom', path: ['level'], message })
  })

type Options = z.output<typeof options>

/**
 * Compresses bytes in independent frames, on all processors. Errors: USAGE, FAILED.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), compressor({ method: 'zstd', level: 9 }), sink({ to: 'vm.vma.zst' })]).run()
 */
export const compressor = defineStage({
  name: 'compressor',
  summary: 'compresses the archive in independent frames, on all processors',
  input: 'bytes',
  output: 'bytes',
  options,
  create(options: Options, context) {
    const encoder = encoderFor(options)
    return encoder === null ? (chunk: Chunk) => chunk : new Compressor(encoder, options, context)
  },
})

function encoderFor({ method, level }: Options): FrameEncoder | null {
  if (method === 'none') return null
  if (method === 'lz4') return lz4Encoder()
  const chosen = level ?? METHODS[method].level
  return method === 'zstd' ? zstdEncoder(chosen) : gzipEncoder(chosen)
}

class Compressor implements TransformBody<Chunk, Chunk> {
  readonly #encoder: FrameEncoder
  readonly #frameSize: number
  readonly #bound: number
  readonly #workers: number
  readonly #inputs: Budget
  readonly #outputs: Budget
  readonly #signal: AbortSignal
  readonly #map: FrameMapWriter | null
  #order: OrderedTasks | null = null
  #frame: Slab | null = null
  #filled = 0
  /** Whether the frame that is being filled has bytes that readers look up first, or hashes. */
  #lookedUp = false
  #hashes = false
  readonly #abort = () => this.#stop(this.#signal.reason)

  constructor(encoder: FrameEncoder, { frame, map, method }: Options, { budget, name, threads, signal }: StageContext) {
    const { frameSize, inFlight } = planFrames(budget, frame ?? FRAME, threads, encoder.bound, frame ?? AMPLE_FRAME)
    this.#encoder = encoder
    this.#frameSize = frameSize
    this.#bound = encoder.bound(frameSize)
    // One frame is being filled while the others are compressed.
    this.#workers = Math.max(1, inFlight - 1)
    this.#inputs = budget.carve(inFlight * frameSize, name)
    this.#outputs = budget.carve((inFlight + 1) * this.#bound, name)
    this.#signal = signal
    this.#map = map ? new FrameMapWriter(method === 'gzip' ? 'gzip' : 'skippable') : null
    signal.addEventListener('abort', this.#abort, { once: true })
  }

  async transform(chunk: Chunk, push: Push<Chunk>): Promise<void> {
    try {
      const isAlike = chunk.lookedUp === this.#lookedUp && chunk.hashes === this.#hashes
      const fits = isAlike && this.#filled + chunk.byteLength <= this.#frameSize
      if (this.#filled > 0 && !fits) await this.#dispatch(push)
      this.#lookedUp = chunk.lookedUp
      this.#hashes = chunk.hashes
      for (const bytes of chunk.buffers) {
        // A chunk may have very many buffers. Most of them fit into the frame, and need no promise.
        if (this.#frame === null || this.#filled + bytes.byteLength > this.#frameSize) await this.#append(bytes, push)
        else this.#copy(this.#frame, bytes)
      }
    } finally {
      chunk.release()
    }
  }

  async flush(push: Push<Chunk>): Promise<void> {
    // Emits one frame even for empty input: the zstd, lz4 and gzip tools reject an empty file.
    if (this.#filled > 0 || this.#order === null) await this.#dispatch(push)
    await this.#order!.drain()
    if (this.#map !== null) push(new Chunk(this.#map.finish()))
  }

  async close(error: Error | null): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort)
    await this.#stop(error ?? new Error('closed'))
    this.#encoder.close?.()
  }

  async #append(bytes: Uint8Array, push: Push<Chunk>): Promise<void> {
    for (let from = 0; from < bytes.byteLength; ) {
      if (this.#filled === this.#frameSize) await this.#dispatch(push)
      this.#frame ??= await this.#inputs.take(this.#frameSize)
      const part = bytes.subarray(from, from + this.#frameSize - this.#filled)
      this.#copy(this.#frame, part)
      from += part.byteLength
    }
  }

  #copy(frame: Slab, bytes: Uint8Array): void {
    frame.buffer.set(bytes, this.#filled)
    this.#filled += bytes.byteLength
  }

  async #dispatch(push: Push<Chunk>): Promise<void> {
    this.#order ??= new OrderedTasks(this.#workers, push)
    const frame = this.#frame ?? (await this.#inputs.take(this.#frameSize))
    const bytes = frame.buffer.subarray(0, this.#filled)
    this.#frame = null
    this.#filled = 0
    await this.#order.add(
      () => this.#encode(bytes).finally(() => frame.release()),
      ({ buffers }) => this.#map?.add(buffers, bytes.length),
    )
  }

  async #encode(bytes: Buffer): Promise<Chunk> {
    const slab = await this.#outputs.take(this.#bound)
    try {
      return new Chunk([slab.buffer.subarray(0, await this.#encoder.encode(bytes, slab.buffer))], [slab])
    } catch (error) {
      slab.release()
      throw error
    }
  }

  async #stop(error: Error): Promise<void> {
    this.#inputs.close(error)
    this.#outputs.close(error)
    await this.#order?.stop(error)
  }
}
