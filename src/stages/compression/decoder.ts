/** What a decoder works with, and how much memory it has for it. */

import type { Budget, Lease } from '../../core/budget.ts'
import { roundUp } from '../../core/geometry.ts'
import { Chunk, totalLength } from '../../core/items.ts'
import type { Format } from '../../formats/compression.ts'
import type { ArchiveEnd } from './archive-end.ts'
import type { InOrder } from './in-order.ts'
import type { PullInput } from './pull-input.ts'
import type { Recovery } from './recovery.ts'
import type { StreamCheck } from './stream-check.ts'

export interface DecodingPlan {
  /** Memory for compressed bytes that must lie in one piece. */
  readonly inputs: Budget
  /** Memory for content. No lease of a stream may be larger than STREAM_PIECE, or much larger than what it holds: the deframer waits for whole extents. */
  readonly outputs: Budget
  /** A frame that declares at most so much content is decoded in one piece, beside others. */
  readonly maxContent: number
  /** The largest window that a zstd decoder may allocate on top of all that, in bytes. */
  readonly maxWindow: number
  readonly inFlight: number
}

/** A decoder reads from `input` what is its own, and hands chunks to `order`. It leaves nothing on lease where it throws. */
export interface DecoderContext extends DecodingPlan {
  readonly input: PullInput
  readonly order: InOrder
  readonly recovery: Recovery
  readonly check: StreamCheck
  readonly end: ArchiveEnd
  /** Is told what follows behind the end of an archive that knows it. */
  readonly onBehind: (offset: number, start: Buffer) => void
  readonly warn: (message: string) => void
  /** Is told what the archive is compressed with. */
  readonly onFormat: (format: Format) => void
}

export type Decoder = (context: DecoderContext) => Promise<void>

/** Content of a stream goes on in pieces of this many bytes. */
export const STREAM_PIECE = 1 << 20

/** The most compressed bytes that a frame of so much content takes; one that takes more is decoded as a stream. */
export function collectSize(content: number): number {
  return content + (content >>> 6) + (64 << 10)
}

/**
 * What is taken for so much content of a frame, where none has more than `most`: a sixteenth more at most, so that what one
 * frame had is of use to another. Not more, as an extent holds all frames that it lies in, however small they are.
 */
export function roomFor(content: number, most: number): number {
  const step = Math.max(1, 2 ** (Math.floor(Math.log2(content)) - 4))
  return Math.max(1, Math.min(most, roundUp(content, step)))
}

/**
 * The chunk of `content`, whose memory is `lease` alone: in memory that is not much larger than it. An extent that is not complete holds
 * all frames that it is in, and waits without end if they hold the memory that the next one needs.
 */
export function fitted(outputs: Budget, content: Buffer, lease: Lease): Chunk {
  const room = roomFor(content.length, lease.bytes)
  return lease.bytes <= room + (room >>> 3) ? new Chunk([content], [lease]) : moved(outputs, [content], [lease])
}

/** The same in memory of its own in any case, out of `leases` that are held by it alone. */
export function moved(outputs: Budget, content: readonly Uint8Array[], leases: readonly Lease[]): Chunk {
  // It may be gone with its leases.
  const length = totalLength(content)
  const most = leases.reduce((sum, { bytes }) => sum + bytes, 0)
  const slab = outputs.exchange(leases, roomFor(length, most), (buffer) => {
    let filled = 0
    for (const bytes of content) {
      buffer.set(bytes, filled)
      filled += bytes.length
    }
  })
  return new Chunk([slab.buffer.subarray(0, length)], [slab])
}

/** The largest extent, which the deframer holds while it waits for the rest of it. */
const EXTENT = 4 << 20
const LARGEST_WHOLE = 8 << 20
/** What the zstd program decodes without being told to. */
const USUAL_WINDOW = 128 << 20

/** The largest block of an LZ4 frame, and some. */
const LEAST_INPUT = 5 << 20

/**
 * Three eighths of what there is for content, a quarter for compressed bytes. Besides an extent that is not complete
 * two frames may be held by it at both its ends, one more by the next stage, and one must still fit.
 */
export function planDecoding(budget: Budget, name: string, threads: number): DecodingPlan {
  const { capacity } = budget
  const inFlight = threads + 1
  const most = (inFlight + 3) * LARGEST_WHOLE + EXTENT
  const share = (part: number, least: number) => Math.max(least, Math.min(most, Math.floor(capacity * part)))
  const outputs = budget.carve(share(3 / 8, EXTENT + 3 * STREAM_PIECE), name)
  const inputs = budget.carve(share(1 / 4, LEAST_INPUT), name)
  const maxContent = Math.min(LARGEST_WHOLE, Math.floor((outputs.total - EXTENT) / 4))
  return { inputs, outputs, maxContent, maxWindow: Math.max(USUAL_WINDOW, budget.total), inFlight }
}
