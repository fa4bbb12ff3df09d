/** How frames begin, to find the next one behind damage. Checked without errors: bytes may look like one every four bytes. */

import { recognise } from '../../formats/compression.ts'
import { isLz4Header } from '../../formats/lz4/frame.ts'
import { isZstdHeader } from '../../formats/zstd/frame.ts'
import type { FrameStart } from './pull-input.ts'

const SKIPPABLE = '562a4d18'
const FAMILIES = {
  'zstd frame': ['28b52ffd', SKIPPABLE],
  'LZ4 frame': ['04224d18', '02214c18', SKIPPABLE],
}
export type Family = keyof typeof FAMILIES
const ANY = [...new Set(Object.values(FAMILIES).flat())]

/** Of a frame of this family, or of any as long as none is known: others cannot follow. */
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
