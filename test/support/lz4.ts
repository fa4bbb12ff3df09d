/** LZ4 frames that the lz4 program does not make (lz4_Frame_format.md). */

import { xxh32 } from '@node-rs/xxhash'
import lz4 from 'lz4-napi'

export interface Lz4FrameOptions {
  /** Bytes of content in each block, the last one aside; a writer that flushes makes them smaller than the frame allows. */
  block: number
  /** Blocks of up to 4 MiB instead of 64 KiB. */
  large?: boolean
  /** The frame says that blocks refer to those before them; here none does. */
  linked?: boolean
  /** With the size of the content. */
  sized?: boolean
}

export function lz4Frame(content: Buffer, { block, large, linked, sized }: Lz4FrameOptions): Buffer {
  const descriptor = Buffer.alloc(sized ? 10 : 2)
  descriptor[0] = 0x40 | (linked ? 0 : 0x20) | (sized ? 8 : 0)
  descriptor[1] = (large ? 7 : 4) << 4
  if (sized) descriptor.writeBigUInt64LE(BigInt(content.length), 2)
  const magic = Buffer.from('04224d18', 'hex')
  const parts: Buffer[] = [magic, descriptor, Buffer.from([(xxh32(descriptor) >>> 8) & 0xff])]
  const step = Math.min(block, large ? 4 << 20 : 64 << 10)
  for (let at = 0; at < content.length; at += step) {
    const bytes = content.subarray(at, at + step)
    // lz4-napi has the content's size before the block.
    const compressed = lz4.compressSync(bytes).subarray(4)
    const stored = compressed.length >= bytes.length
    const size = Buffer.alloc(4)
    size.writeUInt32LE(stored ? bytes.length + 0x80000000 : compressed.length)
    parts.push(size, stored ? bytes : compressed)
  }
  return Buffer.concat([...parts, Buffer.alloc(4)])
}
