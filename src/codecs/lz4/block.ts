/** Reads and decodes LZ4 blocks in the form of lz4-napi: the size of the content is before a block, in place of the block's own size. */

import { VmapipeError } from '../../core/errors.ts'
import {
  decodeLz4BlockSize,
  LZ4_BLOCK_SIZE_FIELD,
  type Lz4BlockSize,
  type Lz4FrameHeader,
} from '../../formats/lz4/frame.ts'
import { xxh32 } from '../../formats/lz4/xxh32.ts'
import type { PullInput } from '../pull-input.ts'
import { damagedFrame } from '../zlib-stream.ts'
import { lz4Decoder, PREFIX } from './codec.ts'

const FRAME = 'an LZ4 frame'

export interface Lz4Block {
  /** The prefix and the block. */
  bytes: Buffer
  stored: boolean
  /** The place of the block in the archive. */
  offset: number
}

/** The most content of a compressed block of `length` bytes: each byte stands for at most 255. lz4-napi allocates this much at once. */
export function mostContent(length: number, blockSize: number): number {
  return Math.min(blockSize, 256 + 255 * length)
}

/** Reads a little-endian 32-bit integer. */
export async function readInteger(input: PullInput): Promise<number> {
  const bytes = Buffer.allocUnsafe(4)
  await input.readWhole(bytes, FRAME)
  return bytes.readUInt32LE()
}

/**
 * Reads the next block of a frame ("Data Blocks") into `target`; null at the end mark. Throws INCOMPLETE, DAMAGED. A length that is
 * wrong is put back into the input.
 */
export async function readBlock(
  input: PullInput,
  header: Pick<Lz4FrameHeader, 'blockSize' | 'blockChecksums'>,
  target: Buffer,
): Promise<Lz4Block | null> {
  const offset = input.position
  const size = await readBlockSize(input, header, offset)
  if (size === null) return null
  const { stored, length } = size
  const bytes = target.subarray(0, PREFIX + length)
  bytes.writeUInt32LE(mostContent(length, header.blockSize), 0)
  const data = bytes.subarray(PREFIX)
  await input.readWhole(data, FRAME)
  if (header.blockChecksums && (await readInteger(input)) !== xxh32(data)) {
    throw new VmapipeError('DAMAGED', 'an LZ4 block does not match its checksum', { offset })
  }
  return { bytes, stored, offset }
}

async function readBlockSize(
  input: PullInput,
  header: Pick<Lz4FrameHeader, 'blockSize'>,
  offset: number,
): Promise<Lz4BlockSize | null> {
  const field = Buffer.alloc(LZ4_BLOCK_SIZE_FIELD)
  await input.readWhole(field, FRAME)
  try {
    return decodeLz4BlockSize(field, header, offset)
  } catch (error) {
    input.giveBack(field)
    throw error
  }
}

/** Decodes a block. Content that is not a view of the block has memory of its own, which the caller discards. */
export function decodeBlockSync({ bytes, stored, offset }: Lz4Block, history?: Buffer): Buffer {
  if (stored) return bytes.subarray(PREFIX)
  try {
    return lz4Decoder().uncompressSync(bytes, history)
  } catch (error) {
    throw damagedFrame('LZ4', error, offset)
  }
}

/** The same in libuv's thread pool. */
export async function decodeBlock({ bytes, stored, offset }: Lz4Block): Promise<Buffer> {
  if (stored) return bytes.subarray(PREFIX)
  try {
    return await lz4Decoder().uncompress(bytes)
  } catch (error) {
    throw damagedFrame('LZ4', error, offset)
  }
}

/** Frees an output of lz4-napi. Each has memory of its own, and many small ones add up before the garbage collector frees them. */
export function free(output: Buffer): void {
  const { buffer: memory } = output
  if (memory instanceof ArrayBuffer) memory.transfer(0)
}
