/** The data of extents: where it comes from depends on how the archive is compressed. */

import type { ExtentHeader } from '../formats/vma/extent.ts'
import type { View } from './piece-cache.ts'

export interface ExtentData {
  /**
   * Checked bytes of the extent from byte `at` of it, its header included: at most `length`, as many as lie in one
   * piece. The caller releases them, and waits for nothing else before. Throws DAMAGED.
   */
  view(extent: number, header: ExtentHeader, at: number, length: number): Promise<View>
  /** These extents are wanted soon, in this order. */
  ahead(extents: readonly number[]): void
  /** Extents that may be asked for ahead, so that they do not drive each other out. */
  readonly window: number
  close(): Promise<void>
}
