/** The sizes that the VMA format fixes. They are in bytes unless the name says otherwise. */

/**
 * Bytes of a block, the unit of data in an archive: 4096.
 *
 *     const blocks = Math.ceil(1_000_000 / BLOCK_SIZE)
 *     console.log(blocks)
 */
export const BLOCK_SIZE = 4096
/**
 * Bytes of a cluster: 65536. Drives are archived in clusters; the last one may be shorter.
 *
 *     const clusters = Math.ceil(1_000_000 / CLUSTER_SIZE)
 *     console.log(clusters)
 */
export const CLUSTER_SIZE = 65536
/**
 * Blocks in a cluster: 16, one for each bit of a mask in `Run.masks`.
 *
 *     const all = (1 << BLOCKS_PER_CLUSTER) - 1
 *     console.log(all)
 */
export const BLOCKS_PER_CLUSTER = 16

/** The mask of a cluster with all 16 blocks stored. Bit 0 is the first block. */
export const FULL_MASK = 0xffff

/** Cluster numbers are 32 bits wide, so no drive is larger than this. */
export const MAX_DRIVE_SIZE = 2 ** 32 * CLUSTER_SIZE

/** The number of clusters of a drive of `size` bytes. The last may be partial. */
export function clusterCount(size: number): number {
  return Math.ceil(size / CLUSTER_SIZE)
}

/** The bytes of cluster `cluster` that are within a drive of `size` bytes. */
function clusterLength(size: number, cluster: number): number {
  return Math.max(0, Math.min(CLUSTER_SIZE, size - cluster * CLUSTER_SIZE))
}

/** The mask of the blocks of `cluster` that are at least partly within a drive of `size` bytes. */
export function clusterMask(size: number, cluster: number): number {
  return (1 << Math.ceil(clusterLength(size, cluster) / BLOCK_SIZE)) - 1
}

/** The number of bits that are set: the stored blocks of a cluster with this mask. */
export function popcount16(mask: number): number {
  let v = mask - ((mask >>> 1) & 0x5555)
  v = (v & 0x3333) + ((v >>> 2) & 0x3333)
  v = (v + (v >>> 4)) & 0x0f0f
  return (v + (v >>> 8)) & 0x1f
}

export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step
}
