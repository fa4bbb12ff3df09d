/** zstd frames (RFC 8878). They declare their content's size and carry its checksum. */

import type { FrameEncoder } from './encoder.ts'
import { zstdBound, zstdFrames } from './zstd-frames.ts'

export function zstdEncoder(level: number): FrameEncoder {
  return { bound: zstdBound, ...zstdFrames().encoder(level) }
}
