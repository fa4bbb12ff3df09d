/**
 * LZ4 frames, with the blocks compressed by lz4-napi and the frame around them by us: its own frame encoder is half as
 * fast, and runs a whole frame in one piece. Blocks of 64 KiB keep the compressor within the processor's cache, and the
 * memory that lz4-napi allocates for each of them small and soon used again.
 */

import { xxh32 } from '@node-rs/xxhash'
import lz4 from 'lz4-napi'
import { encodeLz4Header, encodeLz4Trailer, OUR_BLOCK_SIZE, STORED } from '../../formats/lz4/frame.ts'
import type { FrameEncoder } from './encoder.ts'

/** lz4-napi puts the content's size before a block, in as many bytes as a frame has for the block's own size. */
const PREFIX = 4

/** Blocks of one frame that are in libuv's pool at once: enough to keep it busy, few enough for a read to get through. */
const AT_ONCE = 4

export function lz4Encoder(): FrameEncoder {
  return {
    bound: (bytes) => Math.ceil(bytes / OUR_BLOCK_SIZE) * blockBound(OUR_BLOCK_SIZE) + 64,
    async encode(bytes) {
      const blocks = new Array<Uint8Array>(Math.ceil(bytes.length / OUR_BLOCK_SIZE))
      let next = 0
      const work = async () => {
        while (next < blocks.length) {
          const index = next++
          blocks[index] = await encodeBlock(bytes.subarray(index * OUR_BLOCK_SIZE, (index + 1) * OUR_BLOCK_SIZE))
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, work))
      return [encodeLz4Header(bytes.length), ...blocks, encodeLz4Trailer(xxh32(bytes))]
    },
  }
}

/** lz4_flex's get_maximum_output_size and the prefix. */
function blockBound(bytes: number): number {
  return PREFIX + 20 + Math.ceil(bytes * 1.1)
}

/** A block with its size before it; what does not become smaller is stored. */
async function encodeBlock(content: Buffer): Promise<Uint8Array> {
  const block = await lz4.compress(content)
  const length = block.length - PREFIX
  if (length < content.length) {
    block.writeUInt32LE(length, 0)
    return block
  }
  block.writeUInt32LE((content.length | STORED) >>> 0, 0)
  content.copy(block, PREFIX)
  return block.subarray(0, PREFIX + content.length)
}
