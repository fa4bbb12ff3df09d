/** Recognises the beginning of frames, to find the next one behind damage. It throws no errors, which are slow: any bytes may look like a frame. */

import { recognise } from '../formats/compression.ts'
import { isLz4Header } from '../formats/lz4/frame.ts'
import { isZstdHeader } from '../formats/zstd/frame.ts'
import type { FrameStart } from './pull-input.ts'

const SKIPPABLE = '562a4d18'
const FAMILIES = {
  'zstd frame': ['28b52ffd', SKIPPABLE],
  'LZ4 frame': ['04224d18', '02214c18', SKIPPABLE],
}
export type Family = keyof typeof FAMILIES
const ANY = [...new Set(Object.values(FAMILIES).flat())]

/** The beginning of a frame of this family, because frames of others cannot follow; of any family if none is known yet. */
export function frameStartOf(family: Family | undefined): FrameStart {
  const magic = (family === undefined ? ANY : FAMILIES[family]).map((hex) => Buffer.from(hex, 'hex'))
  return { magic, couldBe }
}

function couldBe(start: Buffer): boolean {
  const format = recognise(start)
  if (format === 'zstd') return isZstdHeader(start)
  if (format === 'lz4') return isLz4Header(start)
  return true
}
