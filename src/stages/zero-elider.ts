/** Removes 4 KiB blocks that are all zero from runs, so that the archive does not store them. Nothing is copied. */

import type { Counters } from '../core/counters.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE } from '../core/geometry.ts'
import { type ClusterItem, Run } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { isZero } from '../core/zero.ts'

/**
 * Finds blocks that are zero, and leaves them out of the archive. Takes and gives clusters.
 *
 *     await definePipeline([clusterSource({ drives: { a: 'disk.raw' } }), zeroElider(), vmaFramer(), sink({ to: 'vm.vma' })]).run()
 */
export const zeroElider = defineStage({
  name: 'zero-elider',
  summary: 'leaves out blocks of 4 KiB that are all zero',
  input: 'clusters',
  output: 'clusters',
  options: z.strictObject({}),
  create(_, { counters }) {
    return (item: ClusterItem): ClusterItem => {
      // A run with masks has already been through this stage, or comes from an archive.
      if (item.kind === 'manifest' || item.isZero || item.masks !== null) return item
      return elide(item, counters)
    }
  },
})

/** The same run with masks, and with views of only the blocks that are not zero. */
export function elide(run: Run, counters: Counters): Run {
  const bytes = run.blocks.length === 1 ? run.blocks[0] : Buffer.concat(run.blocks)
  const masks = new Uint16Array(run.count)
  const views: Uint8Array[] = []
  let from = -1 // the begin of the blocks that are kept, or -1
  let kept = 0
  for (let cluster = 0; cluster < run.count; cluster++) {
    const start = cluster * CLUSTER_SIZE
    const end = Math.min(start + CLUSTER_SIZE, bytes.byteLength)
    const mask = clusterMaskOf(bytes, start, end)
    masks[cluster] = mask
    for (let at = start, bit = 0; at < end; at += BLOCK_SIZE, bit++) {
      const keep = ((mask >>> bit) & 1) === 1
      if (keep) {
        kept += BLOCK_SIZE
        if (from < 0) from = at
      } else if (from >= 0) {
        views.push(bytes.subarray(from, at))
        from = -1
      }
    }
  }
  if (from >= 0) views.push(from === 0 ? bytes : bytes.subarray(from))
  counters.add('zero', bytes.byteLength - kept)
  if (kept > 0) return new Run(run.drive, run.first, run.count, views, masks, run.leases)
  run.release()
  return new Run(run.drive, run.first, run.count, [])
}

function clusterMaskOf(bytes: Uint8Array, start: number, end: number): number {
  // One comparison is enough for a cluster of zeroes.
  if (isZero(bytes, start, end - start)) return 0
  let mask = 0
  for (let bit = 0; bit < BLOCKS_PER_CLUSTER; bit++) {
    const at = start + bit * BLOCK_SIZE
    if (at < end && !isZero(bytes, at, BLOCK_SIZE)) mask |= 1 << bit
  }
  return mask
}
