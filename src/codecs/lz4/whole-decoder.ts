/**
 * Decodes a small LZ4 frame by one call of liblz4, which checks it too, in parallel with other frames. If the frame turns out to be
 * damaged, its blocks are decoded one by one instead, so that damage costs no more than the blocks around it.
 */

import type { Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { encodeLz4Trailer, isOurLz4, LZ4_TRAILER_SIZE, type Lz4FrameHeader, STORED } from '../../formats/lz4/frame.ts'
import { fitted, roomFor } from '../content-memory.ts'
import { collectSize, type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'
import { decodeBlock, free, type Lz4Block, mostContent, readBlock, readInteger } from './block.ts'
import { PREFIX } from './codec.ts'
import type { ContentCheck } from './content-check.ts'
import { liblz4 } from './liblz4.ts'

interface WholeFrame {
  bytes: Buffer
  blocks: Lz4Block[]
  checksum: number
}

/** Whether the frame is small, of the kind that we write, and could be read without damage. If not, nothing of it is used. */
export async function decodeWholeLz4(
  context: DecoderContext,
  header: Lz4FrameHeader,
  headerBytes: Buffer,
  check: ContentCheck,
): Promise<boolean> {
  const native = liblz4()
  const { contentSize = 0 } = header
  if (native === null || !isOurLz4(header) || contentSize === 0 || contentSize > context.maxContent) return false
  const room = roomFor(contentSize, context.maxContent)
  // A frame of ours always fits, also while there is room for one more block.
  const input = await context.inputs.take(collectSize(room) + header.blockSize)
  try {
    const frame = await readFrame(context, header, headerBytes, input.buffer)
    if (frame === null) return false
    const output = await context.outputs.take(room)
    await add(context, header, frame, check, input.retain(), output, native.decode)
    return true
  } finally {
    input.release()
  }
}

/** The frame as it is in the archive; null, with nothing used, if it is damaged, cut short, or does not fit. */
async function readFrame(
  { input }: DecoderContext,
  header: Lz4FrameHeader,
  headerBytes: Buffer,
  target: Buffer,
): Promise<WholeFrame | null> {
  const blocks: Lz4Block[] = []
  let at = headerBytes.copy(target)
  const begin = at
  try {
    for (;;) {
      if (at + PREFIX + header.blockSize + LZ4_TRAILER_SIZE > target.length) break
      const block = await readBlock(input, header, target.subarray(at))
      if (block === null) {
        const checksum = await readInteger(input)
        at += encodeLz4Trailer(checksum).copy(target, at)
        return { bytes: target.subarray(0, at), blocks, checksum }
      }
      // The block's own size, in place of the prefix for lz4-napi.
      const length = block.bytes.length - PREFIX
      block.bytes.writeUInt32LE(block.stored ? length + STORED : length)
      blocks.push(block)
      at += block.bytes.length
    }
  } catch (error) {
    if (!(error instanceof VmapipeError) || !['DAMAGED', 'INCOMPLETE'].includes(error.code)) throw error
  }
  input.giveBack(Buffer.from(target.subarray(begin, at)))
  return null
}

async function add(
  { order, outputs, recovery }: DecoderContext,
  header: Lz4FrameHeader,
  { bytes, blocks, checksum }: WholeFrame,
  check: ContentCheck,
  input: Slab,
  output: Slab,
  decode: (frame: Uint8Array, content: Buffer) => Promise<number>,
): Promise<void> {
  const pieces: Chunk[] = []
  let isSound = true
  const work = async () => {
    try {
      const length = await decode(bytes, output.buffer.subarray(0, header.contentSize))
      return fitted(outputs, output.buffer.subarray(0, length), output)
    } catch {
      isSound = false
      pieces.push(...(await decodeDamaged(blocks, header, output, (error) => recovery.gap(error))))
      return pieces.shift()!
    } finally {
      input.release()
    }
  }
  const see = (chunk: Chunk) => {
    if (isSound) check.trust(chunk.byteLength)
    else check.add(chunk)
  }
  await order.add(work, see)
  for (let piece = 1; piece < piecesOf(blocks, header); piece++) {
    order.afterwards(() => {
      const chunk = pieces.shift()
      if (chunk !== undefined) check.add(chunk)
      return chunk
    })
  }
  order.afterwards(() => check.finish(checksum))
}

function piecesOf(blocks: readonly Lz4Block[], { blockSize }: Lz4FrameHeader): number {
  return Math.ceil(blocks.length / (STREAM_PIECE / blockSize))
}

/** The content in pieces of 1 MiB; a gap in the place of a piece that cannot be decoded. */
async function decodeDamaged(
  blocks: readonly Lz4Block[],
  header: Lz4FrameHeader,
  output: Slab,
  gap: (error: unknown) => Chunk,
): Promise<Chunk[]> {
  const batch = STREAM_PIECE / header.blockSize
  const chunks: Chunk[] = []
  let filled = 0
  for (let first = 0; first < Math.max(1, blocks.length); first += batch) {
    const start = filled
    try {
      for (const block of blocks.slice(first, first + batch)) {
        if (!block.stored) block.bytes.writeUInt32LE(mostContent(block.bytes.length - PREFIX, header.blockSize))
        const content = await decodeBlock(block)
        if (filled + content.length > (header.contentSize ?? 0)) {
          const message = `an LZ4 frame declares ${header.contentSize} bytes and holds more`
          throw new VmapipeError('DAMAGED', message, { offset: block.offset })
        }
        filled += content.copy(output.buffer, filled)
        if (!block.stored) free(content)
      }
      chunks.push(new Chunk([output.buffer.subarray(start, filled)], [output.retain()]))
    } catch (error) {
      filled = start
      chunks.push(gap(error))
    }
  }
  output.release()
  return chunks
}
