/**
 * Defines how the frames (or members, or streams) of a compressed archive follow each other. Each is recognised by its first bytes.
 */

import type { Format } from '../formats/compression.ts'
import type { Decoder } from './decoder-context.ts'
import type { FrameStart } from './pull-input.ts'

export interface Part {
  decode: Decoder
  /** Whether it never has content. */
  isEmpty?: boolean
}

export interface FrameSequence {
  /** The part that begins with these bytes; null if none does. `start` has 66 bytes, or fewer at the end. */
  next(start: Buffer): Part | null
  /** The kind of the last part with content; undefined before the first. */
  readonly last: string | undefined
  /** For the message if the archive ends within the first bytes of a part: "the archive ends within `part`". */
  readonly part: string
  readonly formats: readonly Format[]
  /** Whether its own tools skip zeroes behind the last part, which tapes leave there. */
  readonly padded?: boolean
  /** Recognises the next part behind damage. */
  readonly start: FrameStart
}
