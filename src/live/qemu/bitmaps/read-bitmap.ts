/** Reads a dirty bitmap of QEMU through an NBD export that has it. */

import { ClusterSet } from '../../../core/cluster-set.ts'
import { VmapipeError } from '../../../core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../../../core/geometry.ts'
import { NbdClient } from '../../../protocol/nbd/client.ts'
import type { NbdAddress } from '../../../protocol/nbd/uri.ts'

/** The flag of a dirty extent (docs/interop/nbd.txt of QEMU). */
const DIRTY = 1

/** The clusters that are in the bitmap, even with a part only. `size`: bytes that the drive must have. */
export async function readBitmap(address: NbdAddress, name: string, size: number): Promise<ClusterSet> {
  const client = await NbdClient.connect(address, { context: `qemu:dirty-bitmap:${name}` })
  try {
    if (!client.hasAllocation || client.size !== size)
      throw new VmapipeError('FAILED', `QEMU does not export the dirty bitmap ${name} of a drive of ${size} bytes`)
    const changed = new ClusterSet(clusterCount(size))
    for await (const { offset, length, flags } of client.extents(0, size)) {
      if ((flags & DIRTY) === 0) continue
      const first = Math.floor(offset / CLUSTER_SIZE)
      changed.include(first, clusterCount(offset + length) - first)
    }
    return changed
  } finally {
    await client.close()
  }
}
