/**
 * Makes LZ4 frames. lz4-napi compresses the blocks, and we write the frame around them: its own frame encoder is half as fast, and
 * compresses a whole frame in one call. Blocks of 64 KiB fit into the processor's cache. Each is copied as soon as it is done, so that
 * lz4-napi reuses a little memory over and over.
 */

import { encodeLz4Header, encodeLz4Trailer, OUR_BLOCK_SIZE, STORED } from '../../formats/lz4/frame.ts'
import { xxh32 } from '../../formats/lz4/xxh32.ts'
import type { FrameEncoder } from '../frame-encoder.ts'
import { free } from './block.ts'
import { type Lz4Codec, lz4Compressor, PREFIX } from './codec.ts'

const HEADER_AND_TRAILER = 64

/** Blocks of one frame in libuv's thread pool at once: enough to keep it busy, and few enough that reads get a thread. */
const AT_ONCE = 4

export function lz4Encoder(): FrameEncoder {
  const codec = lz4Compressor()
  return {
    bound,
    encode: (content, frame) => encodeFrame(codec, content, frame),
  }
}

/** The size of a frame if all of its blocks are stored. */
function bound(bytes: number): number {
  return bytes + Math.ceil(bytes / OUR_BLOCK_SIZE) * PREFIX + HEADER_AND_TRAILER
}

/** Writes the frame into `frame` and returns its length. */
async function encodeFrame(codec: Pick<Lz4Codec, 'compress'>, content: Buffer, frame: Buffer): Promise<number> {
  let filled = encodeLz4Header(content.length).copy(frame)
  const count = Math.ceil(content.length / OUR_BLOCK_SIZE)
  const part = (index: number) => content.subarray(index * OUR_BLOCK_SIZE, (index + 1) * OUR_BLOCK_SIZE)
  const done = new Map<number, Buffer>()
  let [begun, written] = [0, 0]
  const work = async () => {
    while (begun < count) {
      const index = begun++
      done.set(index, await codec.compress(part(index)))
      for (let block = done.get(written); block !== undefined; block = done.get(written)) {
        done.delete(written)
        filled += appendBlock(block, part(written), frame, filled)
        free(block)
        written++
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return filled + encodeLz4Trailer(xxh32(content)).copy(frame, filled)
}

/** Appends the block with its size before it, or the content itself if that is not larger. Returns the number of bytes. */
function appendBlock(block: Buffer, content: Buffer, frame: Buffer, at: number): number {
  const length = block.length - PREFIX
  const stored = length >= content.length
  frame.writeUInt32LE(stored ? content.length + STORED : length, at)
  return PREFIX + (stored ? content.copy(frame, at + PREFIX) : block.copy(frame, at + PREFIX, PREFIX))
}
