/**
 * Decodes one LZ4 frame, block by block. A small frame is decoded as a whole if liblz4 is there. Otherwise small independent blocks, such as
 * ours, are decoded in libuv's thread pool, several batches at once. Large and linked blocks are decoded one after the other in this thread, because lz4-napi frees large outputs of the pool
 * much too late.
 */

import { setImmediate as turn } from 'node:timers/promises'
import type { Budget, Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import { LZ4_HEADER_LIMIT, type Lz4FrameHeader, OUR_BLOCK_SIZE, readLz4Header } from '../../formats/lz4/frame.ts'
import { fitted } from '../content-memory.ts'
import { type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'
import { decodeBlock, decodeBlockSync, free, type Lz4Block, readBlock, readInteger } from './block.ts'
import { PREFIX } from './codec.ts'
import { ContentCheck } from './content-check.ts'
import { Gatherer } from './gatherer.ts'
import { decodeWholeLz4 } from './whole-decoder.ts'

export async function decodeLz4Frame(context: DecoderContext): Promise<void> {
  const { input, order, recovery } = context
  const offset = input.position
  const start = Buffer.from(await input.peek(LZ4_HEADER_LIMIT))
  const header = readLz4Header(start, offset)
  if (header === null) throw input.endsWithin('an LZ4 frame')
  await input.skip(header.length)
  recovery.sawFrame(header.contentChecksum || header.blockChecksums)
  const check = new ContentCheck(header, offset, context)
  const batches = header.independent && header.blockSize <= OUR_BLOCK_SIZE
  if (await decodeWholeLz4(context, header, start.subarray(0, header.length), check)) return
  if (batches) await decodeBatches(context, header, check)
  else await decodeLarge(context, header, check)
  const checksum = header.contentChecksum ? await readInteger(input) : undefined
  order.afterwards(() => check.finish(checksum))
}

async function decodeLarge(context: DecoderContext, header: Lz4FrameHeader, check: ContentCheck): Promise<void> {
  const slab = await context.inputs.take(PREFIX + header.blockSize)
  try {
    await decodeBlocks(context, () => readBlock(context.input, header, slab.buffer), header, check)
  } finally {
    slab.release()
  }
}

async function decodeBatches(context: DecoderContext, header: Lz4FrameHeader, check: ContentCheck): Promise<void> {
  const { order, inputs, outputs, recovery } = context
  const batch = STREAM_PIECE / header.blockSize
  for (let more = true; more; ) {
    const slab = await inputs.take(batch * (PREFIX + header.blockSize))
    try {
      const blocks = await readBatch(context, header, slab.buffer)
      more = blocks.length === batch
      const content = await outputs.take(roomOf(blocks, header))
      slab.retain()
      const work = () =>
        decodeBatch(blocks, content, header, outputs)
          .catch((error) => recovery.gap(error))
          .finally(() => slab.release())
      await order.add(work, (chunk) => check.add(chunk))
    } finally {
      slab.release()
    }
  }
}

/** The most bytes of content of these blocks. It is not more than needed: an extent may be in very many frames and holds all their memory. */
function roomOf(blocks: Lz4Block[], { blockSize, contentSize = Number.POSITIVE_INFINITY }: Lz4FrameHeader): number {
  return Math.max(1, Math.min(blocks.length * blockSize, contentSize))
}

/**
 * Reads the next blocks of the frame, 1 MiB of content at most. A wrong length is noticed at the block behind it: if that is no
 * block, the last one is put back into the input (unless it had a checksum, and so the right length).
 */
async function readBatch({ input }: DecoderContext, header: Lz4FrameHeader, slab: Buffer): Promise<Lz4Block[]> {
  const blocks: Lz4Block[] = []
  const { blockSize } = header
  for (let at = 0; blocks.length < STREAM_PIECE / blockSize; at += PREFIX + blockSize) {
    const block = await readBlock(input, header, slab.subarray(at)).catch((error) => {
      const last = blocks.at(-1)
      if (last !== undefined && !header.blockChecksums) input.giveBack(Buffer.from(last.bytes.subarray(PREFIX)))
      throw error
    })
    if (block === null) break
    blocks.push(block)
  }
  return blocks
}

/** Decodes the blocks one behind the other into `content`, which becomes the chunk's lease. */
async function decodeBatch(
  blocks: Lz4Block[],
  content: Slab,
  { contentSize }: Lz4FrameHeader,
  outputs: Budget,
): Promise<Chunk> {
  const results = await Promise.allSettled(blocks.map(decodeBlock))
  let filled = 0
  for (const [index, result] of results.entries()) {
    if (result.status === 'rejected') {
      content.release()
      throw result.reason
    }
    if (filled + result.value.length > content.bytes) {
      content.release()
      const message = `an LZ4 frame declares ${contentSize} bytes and holds more`
      throw new VmapipeError('DAMAGED', message, { offset: blocks[index].offset })
    }
    filled += result.value.copy(content.buffer, filled)
    if (!blocks[index].stored) free(result.value)
  }
  return fitted(outputs, content.buffer.subarray(0, filled), content)
}

/** Decodes blocks of any size, one after the other, as `next` reads them. */
export async function decodeBlocks(
  context: DecoderContext,
  next: () => Promise<Lz4Block | null>,
  { independent }: Pick<Lz4FrameHeader, 'independent'>,
  check?: ContentCheck,
): Promise<void> {
  const output = new Gatherer(context, check && ((chunk) => check.add(chunk)))
  const history = independent ? null : new History()
  let decoded = 0
  try {
    for (let block = await next(); block !== null; block = await next()) {
      const content = decodeBlockSync(block, history?.view)
      history?.add(content)
      await output.append(content)
      if (!block.stored) free(content)
      // lz4-napi frees its memory only in a later turn of the event loop.
      decoded += content.length
      if (decoded >= STREAM_PIECE) decoded = await turn(0)
    }
  } finally {
    await output.flush()
  }
}

/** Keeps the last 64 KiB of content, which linked blocks may refer to. */
class History {
  static readonly SIZE = 64 << 10
  readonly #bytes = Buffer.allocUnsafeSlow(History.SIZE)
  #length = 0

  get view(): Buffer | undefined {
    return this.#length === 0 ? undefined : this.#bytes.subarray(0, this.#length)
  }

  add(content: Buffer): void {
    const tail = content.subarray(Math.max(0, content.length - History.SIZE))
    const kept = Math.min(this.#length, History.SIZE - tail.length)
    this.#bytes.copyWithin(0, this.#length - kept, this.#length)
    tail.copy(this.#bytes, kept)
    this.#length = kept + tail.length
  }
}
