/** Defines what a decoder gets to work with, and plans its memory. */

import type { Budget } from '../core/budget.ts'
import type { Format } from '../formats/compression.ts'
import type { ArchiveEnd } from './archive-end.ts'
import type { OrderedTasks } from './ordered-tasks.ts'
import type { PullInput } from './pull-input.ts'
import type { Recovery } from './recovery.ts'
import type { StreamChecksum } from './stream-checksum.ts'

export interface DecodingPlan {
  /** Memory for compressed bytes that must be contiguous. */
  readonly inputs: Budget
  /**
   * Memory for content. A lease has at most STREAM_PIECE bytes if the content is decoded as a stream, and at most `maxContent` bytes if it
   * is a whole frame. No lease in a chunk may be much larger than its content (`fitted`), because the deframer keeps all chunks of
   * an incomplete extent: too large leases would leave no memory for the rest of the extent.
   */
  readonly outputs: Budget
  /** A frame that declares at most so much content is decoded as a whole, in parallel with others. */
  readonly maxContent: number
  /** The largest window that a zstd decoder may allocate on top of all that, in bytes. */
  readonly maxWindow: number
  readonly inFlight: number
}

/**
 * A decoder reads its own bytes from `input` and gives chunks to `order`. If it throws, it has released its leases, except those of
 * work that `order` still runs, which releases them when it ends.
 */
export interface DecoderContext extends DecodingPlan {
  readonly input: PullInput
  readonly order: OrderedTasks
  readonly recovery: Recovery
  readonly check: StreamChecksum
  readonly end: ArchiveEnd
  /** Called with the bytes behind the end of an archive that has a closing extent. */
  readonly onBehind: (offset: number, start: Buffer) => void
  readonly warn: (message: string) => void
  /** Called with the format of the compression. */
  readonly onFormat: (format: Format) => void
}

export type Decoder = (context: DecoderContext) => Promise<void>

/** Content of a stream is passed on in pieces of at most 1 MiB. */
export const STREAM_PIECE = 1 << 20

/** The most compressed bytes of a frame with this much content. A frame with more is decoded as a stream. */
export function collectSize(content: number): number {
  return content + (content >>> 6) + (64 << 10)
}

/** The largest extent is smaller than this (4 MiB). The deframer holds an extent until it is complete. */
const EXTENT = 4 << 20
const LARGEST_WHOLE = 8 << 20
/** The largest window that the zstd program decodes without an option (128 MiB). */
const USUAL_WINDOW = 128 << 20

/** The least memory for input: the largest block of an LZ4 frame, 4 MiB, and room for its header. */
const LEAST_INPUT = 5 << 20

/**
 * Plans three eighths of the budget for content and a quarter for compressed bytes. The memory for content must fit an incomplete
 * extent and four frames: two that the extent only partly covers, at its two ends, one that the next stage holds, and one more.
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
