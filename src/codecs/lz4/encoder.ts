/**
 * Makes LZ4 frames: by liblz4, with lz4-napi as the fallback. That one compresses the blocks, and we write the frame around them: its own frame encoder is half as fast, and
 * compresses a whole frame in one call. Blocks of 64 KiB fit into the processor's cache. Each is copied as soon as it is done, so that
 * lz4-napi reuses a little memory over and over.
 */

import { encodeLz4Header, encodeLz4Trailer, SMALL_BLOCK_SIZE, STORED } from '../../formats/lz4/frame.ts'
import { xxh32 } from '../../formats/lz4/xxh32.ts'
import type { FrameEncoder } from '../frame-encoder.ts'
import { free } from './block.ts'
import { type Lz4Codec, lz4Compressor, PREFIX } from './codec.ts'
import { liblz4 } from './liblz4.ts'

const HEADER_AND_TRAILER = 64

/** Blocks of one frame in libuv's thread pool at once: enough to keep it busy, and few enough that reads get a thread. */
const AT_ONCE = 4

/** Uses `native`; null for lz4-napi. Throws FAILED if there is neither. */
export function lz4Encoder(native = liblz4()): FrameEncoder {
  // liblz4 leaves out the size of no content.
  if (native !== null) {
    return {
      bound,
      encode: (content, frame) =>
        content.length > 0 ? native.encode(content, frame) : Promise.resolve(emptyFrame(frame)),
    }
  }
  const codec = lz4Compressor()
  return {
    bound,
    encode: (content, frame) => encodeFrame(codec, content, frame),
  }
}

function emptyFrame(frame: Buffer): number {
  const length = encodeLz4Header(0).copy(frame)
  return length + encodeLz4Trailer(xxh32(Buffer.alloc(0))).copy(frame, length)
}

/** The size of a frame if all of its blocks are stored. */
function bound(bytes: number): number {
  return bytes + Math.ceil(bytes / SMALL_BLOCK_SIZE) * PREFIX + HEADER_AND_TRAILER
}

/** Writes the frame into `frame` and returns its length. */
async function encodeFrame(codec: Pick<Lz4Codec, 'compress'>, content: Buffer, frame: Buffer): Promise<number> {
  let filled = encodeLz4Header(content.length).copy(frame)
  const count = Math.ceil(content.length / SMALL_BLOCK_SIZE)
  const part = (index: number) => content.subarray(index * SMALL_BLOCK_SIZE, (index + 1) * SMALL_BLOCK_SIZE)
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
