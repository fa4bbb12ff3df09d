import type { DriveExtent } from '../../drive.ts'
import { BLOCK } from './map-file.ts'

/** The same extents, with boundaries between blocks: a block that is not all zero is data. `end` is where they end. */
export async function* wholeBlocks(extents: AsyncIterable<DriveExtent>, end: number): AsyncGenerator<DriveExtent> {
  let position: number | null = null
  for await (const { offset, length, zero } of extents) {
    position ??= offset
    if (!zero) continue
    const from = Math.ceil(offset / BLOCK) * BLOCK
    const to = offset + length === end ? end : Math.floor((offset + length) / BLOCK) * BLOCK
    if (from >= to) continue
    if (position < from) yield { offset: position, length: from - position, zero: false }
    yield { offset: from, length: to - from, zero: true }
    position = to
  }
  if (position !== null && position < end) yield { offset: position, length: end - position, zero: false }
}
