/** One frame as `lz4 -l` makes it ("Legacy frame"): blocks to the end of the stream or the next magic number; no checksum. */

import { VmapipeError } from '../../core/errors.ts'
import { recognise } from '../../formats/compression.ts'
import { LEGACY_BLOCK_SIZE } from '../../formats/lz4/frame.ts'
import type { DecoderContext } from './decoder.ts'
import { type Lz4Block, PREFIX, readInteger } from './lz4-block.ts'
import { decodeBlocks } from './lz4-decoder.ts'

/** LZ4_COMPRESSBOUND: legacy blocks are never stored, so they may be larger than their content. */
const BLOCK_LIMIT = LEGACY_BLOCK_SIZE + Math.floor(LEGACY_BLOCK_SIZE / 255) + 16

export async function decodeLegacyFrame(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  recovery.sawFrame(false)
  await readInteger(input)
  // Nothing marks the end of such a frame, but one without a block makes no sense.
  if ((await input.peek(1)).length === 0) throw input.endsWithin('an LZ4 frame')
  const next = async (slab: Buffer): Promise<Lz4Block | null> => {
    const offset = input.position
    const start = await input.peek(4)
    if (start.length === 0 || (start.length === 4 && recognise(start) !== undefined)) return null
    const length = await readInteger(input)
    if (length === 0 || length > BLOCK_LIMIT) {
      throw new VmapipeError('DAMAGED', `an LZ4 block claims to be ${length} bytes long`, { offset })
    }
    const bytes = slab.subarray(0, PREFIX + length)
    bytes.writeUInt32LE(LEGACY_BLOCK_SIZE, 0)
    await input.readWhole(bytes.subarray(PREFIX), 'an LZ4 frame')
    return { bytes, stored: false, offset }
  }
  await decodeBlocks(context, next, { blockSize: LEGACY_BLOCK_SIZE, independent: true })
}
