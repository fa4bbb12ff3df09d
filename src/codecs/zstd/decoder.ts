/** Decodes one zstd frame. A small frame that declares its size is decoded as a whole, in parallel with others; any other part by part. */

import type { Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import {
  readZstdHeader,
  withoutChecksum,
  ZSTD_HEADER_LIMIT,
  type ZstdFrameHeader,
  ZstdParts,
} from '../../formats/zstd/frame.ts'
import { fitted, roomFor } from '../content-memory.ts'
import { collectSize, type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'
import type { PullInput } from '../pull-input.ts'
import { damagedFrame } from '../zlib-stream.ts'
import { zstdFrames } from './frames.ts'
import { byLibzstd, byZlib } from './large-frame.ts'
import { libzstd } from './libzstd.ts'

export async function decodeZstdFrame(context: DecoderContext): Promise<void> {
  const { input, inputs, maxContent, recovery } = context
  const offset = input.position
  const header = await readHeader(input, offset)
  recovery.sawFrame(header.checksum)
  const frame = new FrameReader(input, header)
  const small = header.contentSize !== undefined && header.contentSize <= maxContent
  // Frames of one size take memory of one size, which is used again; small ones take little, so that many are decoded at once.
  const slab = await inputs.take(
    collectSize(small ? roomFor(Math.max(LEAST_COLLECTED, header.contentSize ?? 0), maxContent) : STREAM_PIECE),
  )
  try {
    const filled = await frame.fill(slab.buffer)
    const most = header.contentSize ?? frame.mostContent
    if (frame.done && most <= maxContent) await decodeWhole(context, header, most, slab, filled, offset)
    else await decodeLarge(context, header, frame, slab.buffer, filled, offset)
  } finally {
    slab.release()
  }
}

async function readHeader(input: PullInput, offset: number): Promise<ZstdFrameHeader> {
  const header = readZstdHeader(await input.peek(ZSTD_HEADER_LIMIT), offset)
  if (header === null) throw input.endsWithin('a zstd frame')
  return header
}

const MAGIC_SIZE = 4

/** The least memory for a small frame (64 KiB). */
const LEAST_COLLECTED = 64 << 10

/** Reads a frame part by part: header, blocks, checksum. */
class FrameReader {
  readonly #input: PullInput
  readonly #parts: ZstdParts
  /** Bytes of the next part; 0 at the end. */
  #next: number

  constructor(input: PullInput, header: ZstdFrameHeader) {
    this.#input = input
    this.#parts = new ZstdParts(header)
    this.#next = header.length
  }

  get done(): boolean {
    return this.#next === 0
  }

  /** The most bytes of content that the blocks so far can have. */
  get mostContent(): number {
    return this.#parts.mostContent
  }

  /**
   * Reads whole parts as long as they fit, and returns the number of bytes. Throws INCOMPLETE, DAMAGED. It then puts back all bytes
   * except the magic number, because a wrong length may have led it into frames behind this one.
   */
  async fill(target: Buffer): Promise<number> {
    let filled = 0
    try {
      while (this.#next > 0 && filled + this.#next <= target.length) {
        const { bytes, next } = this.#haveCome(target.length - filled)
        await this.#input.readWhole(target.subarray(filled, filled + bytes), 'a zstd frame')
        filled += bytes
        this.#next = next ?? (await this.#partAfter())
      }
    } catch (error) {
      this.#input.giveBack(Buffer.from(target.subarray(MAGIC_SIZE, filled)))
      throw error
    }
    return filled
  }

  /**
   * Bytes of the next part, and of those behind it that have come as a whole and fit into `room`: a frame of ours has 32 blocks, and
   * a promise for each takes longer than its bytes. `next` is the length of the part behind them; undefined if that is not known yet.
   */
  #haveCome(room: number): { bytes: number; next?: number } {
    const { length } = this.#input
    let bytes = this.#next
    for (;;) {
      const { ended, needed } = this.#parts
      if (ended) return { bytes, next: 0 }
      if (bytes + needed > length) return { bytes }
      const start = this.#input.peekNow(needed, bytes)
      if (!this.#parts.isSound(start)) return { bytes }
      const next = this.#parts.next(start, this.#input.position + bytes)
      if (bytes + next > Math.min(room, length)) return { bytes, next }
      bytes += next
    }
  }

  async #partAfter(): Promise<number> {
    const { ended, needed } = this.#parts
    if (ended) return 0
    const start = await this.#input.peek(needed)
    if (start.length < needed) throw this.#input.endsWithin('a zstd frame')
    return this.#parts.next(start, this.#input.position)
  }
}

/** Decodes a whole frame, in memory for `most` bytes of content. */
async function decodeWhole(
  { order, outputs, maxContent, recovery }: DecoderContext,
  { contentSize }: ZstdFrameHeader,
  most: number,
  input: Slab,
  filled: number,
  offset: number,
): Promise<void> {
  const output = await outputs.take(roomFor(most, maxContent))
  const content = output.buffer.subarray(0, most)
  const frame = input.retain().buffer.subarray(0, filled)
  const work = async () => {
    try {
      const length = await zstdFrames().decode(frame, content)
      if (contentSize !== undefined && length !== contentSize) throw wrongSize(contentSize, length, offset)
      return fitted(outputs, content.subarray(0, length), output)
    } catch (error) {
      const damage = damagedFrame('zstd', error, offset)
      const length = await decodeUnchecked(frame, content)
      if (length === contentSize || (contentSize === undefined && length >= 0))
        return recovery.doubt(damage, content.subarray(0, length), output)
      output.release()
      return recovery.gap(damage)
    } finally {
      input.release()
    }
  }
  await order.add(work)
}

/** Decodes a damaged frame as if it had no checksum. Returns the length of its content, or -1 if it cannot be decoded. */
async function decodeUnchecked(frame: Buffer, content: Buffer): Promise<number> {
  const bytes = withoutChecksum(frame)
  if (bytes === null) return -1
  return zstdFrames()
    .decode(bytes, content)
    .catch(() => -1)
}

/** Decodes a frame part by part. `filled` bytes of it are in `first`. */
async function decodeLarge(
  context: DecoderContext,
  { windowSize, contentSize }: ZstdFrameHeader,
  frame: FrameReader,
  first: Buffer,
  filled: number,
  offset: number,
): Promise<void> {
  if (windowSize > context.maxWindow) {
    const most = frame.done ? frame.mostContent : Number.POSITIVE_INFINITY
    if (contentSize !== undefined && contentSize > most) throw wrongSize(contentSize, most, offset)
    throw await windowTooLarge(context, windowSize, offset)
  }
  const windowLog = Math.max(10, Math.ceil(Math.log2(windowSize)))
  const other = await context.inputs.take(collectSize(STREAM_PIECE))
  try {
    const next = inTurn(frame, first, filled, other.buffer)
    const large = { windowLog, offset, next, giveBack: (bytes: Buffer) => context.input.giveBack(bytes) }
    const native = libzstd()
    const total = await (native === null ? byZlib(context, large) : byLibzstd(context, large, native))
    if (contentSize !== undefined && total !== contentSize) throw wrongSize(contentSize, total, offset)
  } finally {
    other.release()
  }
}

/** Fills two buffers in turn with the parts of a frame, of which `filled` bytes are in the first. */
function inTurn(frame: FrameReader, first: Buffer, filled: number, other: Buffer): () => Promise<Buffer | null> {
  const buffers = [other, first]
  let start: Buffer | null = first.subarray(0, filled)
  return async () => {
    const bytes = start
    start = null
    if (bytes !== null) return bytes
    if (frame.done) return null
    const buffer = buffers[0]
    buffers.reverse()
    return buffer.subarray(0, await frame.fill(buffer))
  }
}

/** The largest window of zstd, by --long=31. */
const LARGEST_WINDOW = 2 ** 31

/** The error for a window that is too large. At the begin of an archive the window is probably real. Later it means a damaged header. */
async function windowTooLarge(
  { order, end, maxWindow }: DecoderContext,
  size: number,
  offset: number,
): Promise<VmapipeError> {
  await order.drain()
  const message = `a zstd frame needs a window of ${formatBytes(size)} of memory to decode`
  if (size > LARGEST_WINDOW || end.isArchive) return new VmapipeError('DAMAGED', message, { offset })
  return new VmapipeError('FAILED', `${message}, ${formatBytes(maxWindow)} are allowed`, {
    offset,
    hint: `allow a --buffer of ${Math.ceil(size / 2 ** 20)}MiB`,
  })
}

function wrongSize(declared: number, real: number, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `a zstd frame declares ${declared} bytes and holds ${real}`, { offset })
}
