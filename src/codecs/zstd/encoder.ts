/** Makes zstd frames (RFC 8878) that declare the size of their content and have its checksum. */

import type { FrameEncoder } from '../frame-encoder.ts'
import { zstdBound, zstdFrames } from './frames.ts'

export function zstdEncoder(level: number): FrameEncoder {
  return { bound: zstdBound, ...zstdFrames().encoder(level) }
}
