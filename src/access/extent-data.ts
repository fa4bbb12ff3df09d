/** Reads the data of extents. There is one implementation for uncompressed archives and one for compressed ones. */

import type { ExtentHeader } from '../formats/vma/extent.ts'
import type { View } from './piece-cache.ts'

export interface ExtentData {
  /**
   * Checked bytes of the extent, from its byte `at`, counted from its header. It gives as many contiguous bytes as possible, at most
   * `length`. The caller releases them, and must not wait for anything else before it does. Throws DAMAGED.
   */
  view(extent: number, header: ExtentHeader, at: number, length: number): Promise<View>
  /** Loads these extents in advance, in this order. */
  ahead(extents: readonly number[]): void
  /** Whether the data of the other extent is decoded with that of this one, as far as that is known without reading. */
  isDecodedWith(extent: number, other: number): boolean
  /** The number of extents that may be loaded in advance: more would push each other out of the cache. */
  readonly window: number
  close(): Promise<void>
}
