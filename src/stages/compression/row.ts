/** What an archive of one compression is made of: parts one behind the other, each told from its first bytes. */

import type { Format } from '../../formats/compression.ts'
import type { Decoder } from './decoder.ts'
import type { FrameStart } from './pull-input.ts'

export interface Part {
  decode: Decoder
  /** It never has content. */
  isEmpty?: boolean
}

export interface Row {
  /** What begins so, at this place; null if nothing can. `start` has 66 bytes, or what there is. */
  next(start: Buffer): Part | null
  /** What the last part with content was; undefined before the first. */
  readonly last: string | undefined
  /** For what ends within the first bytes of a part: "the archive ends within `part`". */
  readonly part: string
  readonly formats: readonly Format[]
  /** Its own tools pass over zeroes behind the last part, as tapes leave them. */
  readonly padded?: boolean
  /** How a part begins that is looked for behind damage. */
  readonly start: FrameStart
}
