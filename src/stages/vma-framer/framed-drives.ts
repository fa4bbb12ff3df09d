/** The drives of an archive that is being framed: which of their clusters have come, and which blocks a cluster can have. */

import { ClusterSet } from '../../core/cluster-set.ts'
import { VmapipeError } from '../../core/errors.ts'
import { clusterCount, clusterMask, FULL_MASK } from '../../core/geometry.ts'
import type { DriveInfo, Run } from '../../core/items.ts'

interface DriveState extends DriveInfo {
  seen: ClusterSet
  /** The drive's last cluster, whose mask may have fewer blocks. */
  last: number
  lastMask: number
}

export class FramedDrives {
  readonly #drives = new Map<number, DriveState>()

  constructor(drives: readonly DriveInfo[]) {
    for (const drive of drives) {
      const clusters = clusterCount(drive.size)
      const last = clusters - 1
      const seen = new ClusterSet(clusters)
      this.#drives.set(drive.id, { ...drive, seen, last, lastMask: clusterMask(drive.size, last) })
    }
  }

  /** Notes that the clusters of a run have come. Returns the masks of what is stored of them; null for a hole. Throws STAGE. */
  admit(run: Run): Uint16Array | null {
    const drive = this.#drives.get(run.drive)
    if (drive === undefined)
      throw new VmapipeError('STAGE', `clusters of drive ${run.drive} came, which the manifest does not have`)
    if (run.first < 0 || run.first + run.count > drive.seen.size) {
      throw new VmapipeError('STAGE', 'a cluster past the end of the drive came', {
        drive: drive.name,
        cluster: run.first + run.count - 1,
      })
    }
    const twice = drive.seen.addRange(run.first, run.count)
    if (twice >= 0) throw new VmapipeError('STAGE', 'a cluster came twice', { drive: drive.name, cluster: twice })
    return run.isZero ? null : masksOf(run, drive)
  }

  /** Throws STAGE if not every cluster of every drive has come. */
  requireAll(): void {
    for (const { name, seen } of this.#drives.values()) {
      const missing = seen.firstMissing()
      if (missing < 0) continue
      const message = `only ${seen.count} of ${seen.size} clusters came`
      throw new VmapipeError('STAGE', message, { drive: name, cluster: missing })
    }
  }
}

function masksOf({ first, count, masks }: Run, { last, lastMask }: DriveState): Uint16Array {
  const all = masks === null ? new Uint16Array(count).fill(FULL_MASK) : masks
  if (first + count - 1 !== last || (all[count - 1] & lastMask) === all[count - 1]) return all
  const cut = Uint16Array.from(all)
  cut[count - 1] &= lastMask
  return cut
}
