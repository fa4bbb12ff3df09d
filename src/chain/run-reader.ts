/** Reads clusters of a chain as runs, with the masks that their archives have for them, so that zeroes are never searched for. */

import type { LayeredRun } from '../access/layers.ts'
import { segmentsOf } from '../access/segments.ts'
import type { Slab } from '../core/budget.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterMask, roundUp } from '../core/geometry.ts'
import { type DriveInfo, Run } from '../core/items.ts'
import type { Slot } from '../formats/vma/extent.ts'

/** A run of data, and whether a checksum of the archive covers it. */
export interface ReadRun {
  run: Run
  checked: boolean
}

/** Reads these clusters of an extent, which have stored blocks, into memory that is enough for all of them. Throws DAMAGED. */
export async function readRun(info: DriveInfo, placed: LayeredRun, memory: Promise<Slab>): Promise<ReadRun> {
  const { layer, extent, first, end } = placed
  const { headers, data } = layer.parts
  const slab = await memory
  try {
    const header = await headers.get(extent)
    const masks = masksOf(header.slots, layer.id, info, first, end)
    const stop = roundUp(Math.min(end * CLUSTER_SIZE, info.size), BLOCK_SIZE)
    let filled = 0
    for (const { at, length } of segmentsOf(header.slots, layer.id, first * CLUSTER_SIZE, stop)) {
      for (let done = at < 0 ? length : 0; done < length; ) {
        const { bytes, lease } = await data.view(extent, header, at + done, length - done)
        slab.buffer.set(bytes, filled)
        filled += bytes.length
        done += bytes.length
        lease.release()
      }
    }
    const blocks = slab.buffer.subarray(0, filled)
    clearPastEnd(blocks, info, masks, end)
    const run = new Run(info.id, first, end - first, filled === 0 ? [] : [blocks], masks, [slab])
    return { run, checked: header.checksum !== null }
  } catch (error) {
    slab.release()
    throw error
  }
}

/** The masks of clusters that follow each other, without blocks past the drive's end. Most often their slots follow each other too. */
function masksOf(slots: readonly Slot[], id: number, info: DriveInfo, first: number, end: number): Uint16Array {
  const masks = new Uint16Array(end - first)
  let next = 0
  for (let cluster = first; cluster < end; cluster++) {
    for (let passed = 0; passed < slots.length; passed++, next++) {
      const slot = slots[next % slots.length]
      if (slot.cluster !== cluster || slot.drive !== id) continue
      masks[cluster - first] = slot.mask & clusterMask(info.size, cluster)
      break
    }
  }
  return masks
}

/** A drive may have been larger in the archive that has its last block: bytes past its end are zero. */
function clearPastEnd(buffer: Buffer, { size }: DriveInfo, masks: Uint16Array, end: number): void {
  const past = end * CLUSTER_SIZE - size
  const last = masks[masks.length - 1]
  if (past <= 0 || size % BLOCK_SIZE === 0) return
  const block = Math.floor((size % CLUSTER_SIZE) / BLOCK_SIZE)
  if (((last >>> block) & 1) === 1) buffer.fill(0, buffer.length - BLOCK_SIZE + (size % BLOCK_SIZE))
}
