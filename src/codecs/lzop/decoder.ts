/** Decodes lzop streams by the lzop program, because the format is old and rare. Each stream says where it ends. */

import {
  decodeLzopHeader,
  LZOP_BLOCK_HEADER_LIMIT,
  LZOP_HEADER_LIMIT,
  LZOP_MAGIC,
  lzopBlockLength,
} from '../../formats/lzop/member.ts'
import type { DecoderContext } from '../decoder-context.ts'
import { decodeBy, type Give } from '../external-program.ts'
import type { FrameSequence, Part } from '../frame-sequence.ts'
import type { PullInput } from '../pull-input.ts'

const STREAM = 'a lzop stream'

export class LzopMembers implements FrameSequence {
  readonly part = STREAM
  readonly formats = ['lzop' as const]
  readonly padded = true
  /** Nothing can be decoded behind damage. */
  readonly start = { magic: [], couldBe: () => false }
  last: string | undefined

  next(start: Buffer): Part | null {
    if (!start.subarray(0, LZOP_MAGIC.length).equals(LZOP_MAGIC)) return null
    this.last = 'lzop stream'
    return { decode: decodeLzop }
  }
}

async function decodeLzop(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  recovery.sawFrame(true)
  await decodeBy('lzop', context, input.position, (give) => giveStream(input, give))
}

async function giveStream(input: PullInput, give: Give): Promise<void> {
  const header = decodeLzopHeader(await input.peek(LZOP_HEADER_LIMIT))
  if (header === null) throw input.endsWithin(STREAM)
  await giveBytes(input, header.length, give)
  for (let ended = false; !ended; ) {
    const { position } = input
    const block = lzopBlockLength(await input.peek(LZOP_BLOCK_HEADER_LIMIT), header.flags, position)
    if (block === null) throw input.endsWithin(STREAM)
    await giveBytes(input, block.length, give)
    ended = block.last
  }
}

async function giveBytes(input: PullInput, bytes: number, give: Give): Promise<void> {
  for (let left = bytes; left > 0; ) {
    const taken = await input.take(left)
    if (taken === null) throw input.endsWithin(STREAM)
    for (const view of taken.buffers) {
      left -= view.length
      await give(view)
    }
    for (const lease of taken.leases) lease.release()
  }
}
