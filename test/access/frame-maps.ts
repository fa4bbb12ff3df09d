/** Maps of frames as lists, to change them. */

import { type Frame, FrameMapEntries } from '../../src/formats/frame-map/frame-map.ts'
import { VarintReader } from '../../src/formats/varint.ts'

export function framesIn(map: Buffer): Frame[] {
  const reader = new VarintReader(map)
  return Array.from({ length: reader.next() }, () => ({ bytes: reader.next(), contentBytes: reader.next() }))
}

export function mapOf(frames: readonly Frame[]): Buffer {
  const entries = new FrameMapEntries()
  for (const { bytes, contentBytes } of frames) entries.add(bytes, contentBytes)
  return Buffer.concat(entries.finish())
}
