/** A row of zstd or LZ4 frames, with skippable frames between them. */

import { couldBecome, type Format, recognise } from '../formats/compression.ts'
import { SKIPPABLE_HEADER_SIZE, skippableLength } from '../formats/skippable.ts'
import type { DecoderContext } from './decoder.ts'
import { passFooter } from './footer.ts'
import { type Family, frameStartOf } from './frame-start.ts'
import { decodeLz4Frame } from './lz4/decoder.ts'
import { decodeLegacyBlock, decodeLegacyStart } from './lz4/legacy-decoder.ts'
import type { FrameStart } from './pull-input.ts'
import type { Part, Row } from './row.ts'
import { decodeZstdFrame } from './zstd/decoder.ts'

const PARTS: Partial<Record<Format, Part & { family: Family | undefined }>> = {
  zstd: { family: 'zstd frame', decode: decodeZstdFrame },
  lz4: { family: 'LZ4 frame', decode: decodeLz4Frame },
  'lz4-legacy': { family: 'LZ4 frame', decode: decodeLegacyStart },
  skippable: { family: undefined, decode: skipFrame, isEmpty: true },
}

const LEGACY_BLOCK: Part = { decode: decodeLegacyBlock }

export class Frames implements Row {
  readonly part = "a frame's magic number"
  readonly formats = Object.keys(PARTS) as Format[]
  last: Family | undefined
  /** Whether the last frame was a legacy one. Such a frame has no end mark: its blocks follow until another frame begins. */
  #legacy = false

  get start(): FrameStart {
    return frameStartOf(this.last)
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
