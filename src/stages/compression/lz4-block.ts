/** LZ4 blocks as lz4-napi wants them: with the size of the content before them, in place of their own. */

import { VmapipeError } from '../../core/errors.ts'
import { END_MARK, type Lz4FrameHeader, STORED } from '../../formats/lz4/frame.ts'
import { xxh32 } from '../../formats/lz4/xxh32.ts'
import { damagedFrame } from './engine.ts'
import { lz4Decoder, PREFIX } from './lz4-codec.ts'
import type { PullInput } from './pull-input.ts'

const FRAME = 'an LZ4 frame'

export interface Lz4Block {
  /** The prefix and the block. */
  bytes: Buffer
  stored: boolean
  /** Where the block is in the archive. */
  offset: number
}

/** The most content of a compressed block of so many bytes: each of them stands for 255 at most. lz4-napi allocates as much at once. */
export function mostContent(length: number, blockSize: number): number {
  return Math.min(blockSize, 256 + 255 * length)
}

/** A little-endian 32-bit integer. */
export async function readInteger(input: PullInput): Promise<number> {
  const bytes = Buffer.allocUnsafe(4)
  await input.readWhole(bytes, FRAME)
  return bytes.readUInt32LE()
}

/**
 * The next block of a frame ("Data Blocks"), read into `target`; null at the end mark. INCOMPLETE, DAMAGED: a length that lies is
 * the input's again.
 */
export async function readBlock(
  input: PullInput,
  { blockSize, blockChecksums }: Pick<Lz4FrameHeader, 'blockSize' | 'blockChecksums'>,
  target: Buffer,
): Promise<Lz4Block | null> {
  const offset = input.position
  const word = await readInteger(input)
  if (word === END_MARK) return null
  const stored = word >= STORED
  const length = stored ? word - STORED : word
  if (length > blockSize) {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(word)
    input.giveBack(bytes)
    throw new VmapipeError('DAMAGED', `an LZ4 block claims to be ${length} bytes long`, { offset })
  }
  const bytes = target.subarray(0, PREFIX + length)
  bytes.writeUInt32LE(mostContent(length, blockSize), 0)
  const data = bytes.subarray(PREFIX)
  await input.readWhole(data, FRAME)
  if (blockChecksums && (await readInteger(input)) !== xxh32(data)) {
    throw new VmapipeError('DAMAGED', 'an LZ4 block does not match its checksum', { offset })
  }
  return { bytes, stored, offset }
}

/** The block's content; what is not a view of the block has memory of its own, to be discarded. */
export function decodeBlockSync({ bytes, stored, offset }: Lz4Block, history?: Buffer): Buffer {
  if (stored) return bytes.subarray(PREFIX)
  try {
    return lz4Decoder().uncompressSync(bytes, history)
  } catch (error) {
    throw damagedFrame('LZ4', error, offset)
  }
}

/** The same in libuv's pool. */
export async function decodeBlock({ bytes, stored, offset }: Lz4Block): Promise<Buffer> {
  if (stored) return bytes.subarray(PREFIX)
  try {
    return await lz4Decoder().uncompress(bytes)
  } catch (error) {
    throw damagedFrame('LZ4', error, offset)
  }
}

/** Frees what lz4-napi gave: each output has memory of its own, and many small ones add up before they are collected. */
export function free(output: Buffer): void {
  const { buffer: memory } = output
  if (memory instanceof ArrayBuffer) memory.transfer(0)
}
