/** What the filler asks of a drive in the archive. */

import type { ImageReader } from '../../access/image-reader.ts'
import { asVmapipeError, type VmapipeError } from '../../core/errors.ts'
import { CLUSTER_SIZE, roundUp } from '../../core/geometry.ts'
import { BLOCK } from '../../storage/disks/overlay/map-file.ts'
import type { DriveExtent } from '../../storage/drive.ts'

/** The most bytes between two clusters of one extent, if the drive was scanned in order. */
const NEAR = 64 * CLUSTER_SIZE

/** The range in whole blocks. If the archive cannot tell what it has there, all of it is read: the read then says why. */
export async function* extentsOf(source: ImageReader, offset: number, length: number): AsyncGenerator<DriveExtent> {
  const end = offset + length
  let position = offset
  try {
    for await (const extent of wholeBlocks(source.map(offset, length), end)) {
      position = extent.offset + extent.length
      yield extent
    }
  } catch {
    yield { offset: position, length: end - position, zero: false }
  }
}

export async function readFrom(source: ImageReader, bytes: Uint8Array, offset: number): Promise<VmapipeError | null> {
  try {
    await source.read(bytes, offset)
    return null
  } catch (error) {
    return asVmapipeError(error)
  }
}

/** What is in the same extents of the archive, near the range, in whole clusters. */
export function* around(
  source: ImageReader,
  offset: number,
  length: number,
): Generator<{ offset: number; length: number }> {
  const extents = new Set<number>()
  for (const { extent } of source.places?.(offset, length) ?? []) extents.add(extent)
  const from = Math.max(0, Math.floor(offset / CLUSTER_SIZE) * CLUSTER_SIZE - NEAR)
  const end = Math.min(source.size, roundUp(offset + length, CLUSTER_SIZE) + NEAR)
  if (!source.places) yield { offset: from, length: end - from }
  for (const { extent, offset, length } of source.places?.(from, end - from) ?? []) {
    if (extents.has(extent)) yield { offset, length }
  }
}

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
