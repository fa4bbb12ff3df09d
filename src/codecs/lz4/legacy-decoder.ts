/** Decodes a frame of `lz4 -l` ("Legacy frame"): blocks up to the end of the stream or the next magic number, without a checksum. */

import { VmapipeError } from '../../core/errors.ts'
import { LEGACY_BLOCK_SIZE } from '../../formats/lz4/frame.ts'
import { roomFor } from '../content-memory.ts'
import type { DecoderContext } from '../decoder-context.ts'
import { type Lz4Block, mostContent, readInteger } from './block.ts'
import { PREFIX } from './codec.ts'
import { decodeBlocks } from './decoder.ts'

/** LZ4_COMPRESSBOUND: legacy blocks are always compressed, so they may be larger than their content. */
const BLOCK_LIMIT = LEGACY_BLOCK_SIZE + Math.floor(LEGACY_BLOCK_SIZE / 255) + 16

/** Decodes the magic number and the first block. Such a frame has no end mark, but it must have a block. */
export async function decodeLegacyStart(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  recovery.sawFrame(false)
  await readInteger(input)
  await decodeLegacyBlock(context)
}

export async function decodeLegacyBlock(context: DecoderContext): Promise<void> {
  const { input, inputs } = context
  const offset = input.position
  const start = await input.peek(4)
  if (start.length < 4) throw input.endsWithin('an LZ4 frame')
  const length = start.readUInt32LE()
  if (length === 0 || length > BLOCK_LIMIT) {
    throw new VmapipeError('DAMAGED', `an LZ4 block claims to be ${length} bytes long`, { offset })
  }
  // The largest blocks do not fit into the least budget, so one block and its content are held on top of the budget.
  const fits = PREFIX + length <= inputs.capacity
  const slab = fits ? await inputs.take(roomFor(PREFIX + length, inputs.capacity)) : null
  try {
    const bytes = slab?.buffer.subarray(0, PREFIX + length) ?? Buffer.allocUnsafeSlow(PREFIX + length)
    await input.readWhole(bytes, 'an LZ4 frame')
    bytes.writeUInt32LE(mostContent(length, LEGACY_BLOCK_SIZE), 0)
    const blocks: Lz4Block[] = [{ bytes, stored: false, offset }]
    await decodeBlocks(context, async () => blocks.pop() ?? null, { independent: true })
  } finally {
    slab?.release()
  }
}
