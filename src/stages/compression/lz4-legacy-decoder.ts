/** One frame as `lz4 -l` makes it ("Legacy frame"): blocks to the end of the stream or the next magic number; no checksum. */

import type { Budget, Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { recognise } from '../../formats/compression.ts'
import { LEGACY_BLOCK_SIZE } from '../../formats/lz4/frame.ts'
import { type DecoderContext, roomFor } from './decoder.ts'
import { type Lz4Block, mostContent, readInteger } from './lz4-block.ts'
import { PREFIX } from './lz4-codec.ts'
import { decodeBlocks } from './lz4-decoder.ts'

/** LZ4_COMPRESSBOUND: legacy blocks are never stored, so they may be larger than their content. */
const BLOCK_LIMIT = LEGACY_BLOCK_SIZE + Math.floor(LEGACY_BLOCK_SIZE / 255) + 16

export async function decodeLegacyFrame(context: DecoderContext): Promise<void> {
  const { input, inputs, recovery } = context
  recovery.sawFrame(false)
  await readInteger(input)
  // Nothing marks the end of such a frame, but one without a block makes no sense.
  if ((await input.peek(1)).length === 0) throw input.endsWithin('an LZ4 frame')
  const memory = new BlockMemory(inputs)
  const next = async (): Promise<Lz4Block | null> => {
    const offset = input.position
    const start = await input.peek(4)
    if (start.length === 0 || (start.length === 4 && recognise(start) !== undefined)) return null
    const length = await readInteger(input)
    if (length === 0 || length > BLOCK_LIMIT) {
      throw new VmapipeError('DAMAGED', `an LZ4 block claims to be ${length} bytes long`, { offset })
    }
    const bytes = await memory.of(PREFIX + length)
    bytes.writeUInt32LE(mostContent(length, LEGACY_BLOCK_SIZE), 0)
    await input.readWhole(bytes.subarray(PREFIX), 'an LZ4 frame')
    return { bytes, stored: false, offset }
  }
  try {
    await decodeBlocks(context, next, { independent: true })
  } finally {
    memory.release()
  }
}

/** Memory for one block after the other. Frames may be many and small, and a block is up to 8 MiB. */
class BlockMemory {
  readonly #inputs: Budget
  #slab: Slab | null = null

  constructor(inputs: Budget) {
    this.#inputs = inputs
  }

  /** What it gave before is not used any more. */
  async of(bytes: number): Promise<Buffer> {
    // The largest blocks do not fit into the least budget: one block at a time is on top of it, as its content is.
    if (bytes > this.#inputs.capacity) return Buffer.allocUnsafeSlow(bytes)
    if ((this.#slab?.bytes ?? 0) < bytes) {
      this.release()
      this.#slab = await this.#inputs.take(roomFor(bytes, this.#inputs.capacity))
    }
    return this.#slab!.buffer.subarray(0, bytes)
  }

  release(): void {
    this.#slab?.release()
    this.#slab = null
  }
}
