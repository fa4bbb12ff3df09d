/** The frames of a zstd or an LZ4 archive, with skippable frames between them. */

import { couldBecome, type Format, magicOf, recognise } from '../formats/compression.ts'
import { isLz4Header } from '../formats/lz4/frame.ts'
import { SKIPPABLE_HEADER_SIZE, SKIPPABLE_MAGIC, skippableLength } from '../formats/skippable.ts'
import { isZstdHeader } from '../formats/zstd/frame.ts'
import { passFooter } from './archive-footer.ts'
import type { DecoderContext } from './decoder-context.ts'
import type { FrameSequence, Part } from './frame-sequence.ts'
import { decodeLz4Frame } from './lz4/decoder.ts'
import { decodeLegacyBlock, decodeLegacyStart } from './lz4/legacy-decoder.ts'
import type { FrameStart } from './pull-input.ts'
import { decodeZstdFrame } from './zstd/decoder.ts'

/** Magic numbers of the frames that may follow each other. Of the skippable frames only ours are searched for. */
const FAMILIES = {
  'zstd frame': [magicOf('zstd'), SKIPPABLE_MAGIC],
  'LZ4 frame': [magicOf('lz4'), magicOf('lz4-legacy'), SKIPPABLE_MAGIC],
}
type Family = keyof typeof FAMILIES
const ANY = [...new Set(Object.values(FAMILIES).flat())]

const PARTS: Partial<Record<Format, Part & { family: Family | undefined }>> = {
  zstd: { family: 'zstd frame', decode: decodeZstdFrame },
  lz4: { family: 'LZ4 frame', decode: decodeLz4Frame },
  'lz4-legacy': { family: 'LZ4 frame', decode: decodeLegacyStart },
  skippable: { family: undefined, decode: skipFrame, isEmpty: true },
}

const LEGACY_BLOCK: Part = { decode: decodeLegacyBlock }

export class ZstdLz4Frames implements FrameSequence {
  readonly part = "a frame's magic number"
  readonly formats = Object.keys(PARTS) as Format[]
  last: Family | undefined
  /** Whether the last frame was a legacy one. Such a frame has no end mark: its blocks follow until another frame begins. */
  #legacy = false

  /** Frames of one family cannot follow those of the other. */
  get start(): FrameStart {
    return { magic: this.last === undefined ? ANY : FAMILIES[this.last], couldBe }
  }

  next(start: Buffer): Part | null {
    const format = recognise(start)
    const part = format && PARTS[format]
    if (part === undefined) return this.#legacy && !couldBecome(start, this.formats) ? LEGACY_BLOCK : null
    if (part.family !== undefined && this.last !== undefined && part.family !== this.last) return null
    this.last ??= part.family
    this.#legacy = format === 'lz4-legacy'
    return part
  }
}

/** Whether a frame could begin with these bytes. It throws no errors, which are slow: any bytes may look like a frame. */
function couldBe(start: Buffer): boolean {
  const format = recognise(start)
  if (format === 'zstd') return isZstdHeader(start)
  if (format === 'lz4') return isLz4Header(start)
  return true
}

async function skipFrame(context: DecoderContext): Promise<void> {
  const { input } = context
  const header = Buffer.allocUnsafe(SKIPPABLE_HEADER_SIZE)
  await input.readWhole(header, 'a skippable frame')
  for (let left = skippableLength(header) - header.length; left > 0; ) {
    const taken = await input.take(left)
    if (taken === null) throw input.endsWithin('a skippable frame')
    for (const { length } of taken.buffers) left -= length
    for (const lease of taken.leases) lease.release()
  }
  await passFooter(context)
}
