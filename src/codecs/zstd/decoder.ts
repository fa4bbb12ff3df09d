/** Decodes one zstd frame. A small frame that declares its size is decoded as a whole, in parallel with others; any other as a stream. */

import { constants, createZstdDecompress } from 'node:zlib'
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
import { damagedFrame, runZlib } from '../zlib-stream.ts'
import { zstdFrames } from './frames.ts'

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
    else await decodeStream(context, header, frame, slab.buffer.subarray(0, filled), slab.buffer, offset)
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
        await this.#input.readWhole(target.subarray(filled, filled + this.#next), 'a zstd frame')
        filled += this.#next
        this.#next = await this.#partAfter()
      }
    } catch (error) {
      this.#input.giveBack(Buffer.from(target.subarray(MAGIC_SIZE, filled)))
      throw error
    }
    return filled
  }

  async #partAfter(): Promise<number> {
    const { ended, needed } = this.#parts
    if (ended) return 0
    const start = await this.#input.peek(needed)
    if (start.length < needed) throw this.#input.endsWithin('a zstd frame')
    return this.#parts.next(start, this.#input.position)
  }
}

const WINDOW_LOG_MAX = constants.ZSTD_d_windowLogMax

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

async function decodeStream(
  context: DecoderContext,
  { windowSize, contentSize }: ZstdFrameHeader,
  frame: FrameReader,
  first: Buffer,
  buffer: Buffer,
  offset: number,
): Promise<void> {
  if (windowSize > context.maxWindow) {
    const most = frame.done ? frame.mostContent : Number.POSITIVE_INFINITY
    if (contentSize !== undefined && contentSize > most) throw wrongSize(contentSize, most, offset)
    throw await windowTooLarge(context, windowSize, offset)
  }
  const params = { [WINDOW_LOG_MAX]: Math.max(10, Math.ceil(Math.log2(windowSize))) }
  const engine = createZstdDecompress({ params, chunkSize: STREAM_PIECE })
  const total = await runZlib(context, engine, 'zstd', offset, async (write) => {
    let left = await write(first)
    while (!frame.done && left === 0) left = await write(buffer.subarray(0, await frame.fill(buffer)))
    if (left > 0) throw new VmapipeError('DAMAGED', 'a zstd frame goes on after its end', { offset })
  })
  if (contentSize !== undefined && total !== contentSize) throw wrongSize(contentSize, total, offset)
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
