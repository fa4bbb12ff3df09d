/** Joins neighbouring slots of an extent to runs, and checks them against the clusters of the drives and those that have come. */

import { VmapipeError } from '../../core/errors.ts'
import type { ClusterSpan, DriveFindings, Findings } from '../../core/findings.ts'
import { BLOCK_SIZE, clusterMask, popcount16 } from '../../core/geometry.ts'
import type { Slot } from '../../formats/vma/extent.ts'

/** Slots whose clusters follow each other. */
export function* slotRuns(slots: readonly Slot[]): Generator<Slot[]> {
  for (let from = 0; from < slots.length; ) {
    let to = from + 1
    while (to < slots.length && follows(slots[to - 1], slots[to])) to++
    yield slots.slice(from, to)
    from = to
  }
}

function follows(a: Slot, b: Slot): boolean {
  return a.drive === b.drive && a.cluster + 1 === b.cluster
}

/** Adds a run to its drive and returns null, or returns the error why the drive cannot have it. `offset` is the extent's place. */
export function admit(drives: Findings['drives'], run: readonly Slot[], offset: number): VmapipeError | null {
  const [{ drive: id, cluster }] = run
  const drive = drives.get(id)
  if (drive === undefined) {
    const message = `the extent holds clusters of dev_id ${id}, which the header does not declare`
    return new VmapipeError('DAMAGED', message, { offset })
  }
  const { info, seen } = drive
  const end = cluster + run.length
  if (end > seen.size) {
    const message = `the extent holds a cluster past the end of the drive, which has ${seen.size}`
    return new VmapipeError('DAMAGED', message, { drive: info.name, cluster: end - 1, offset })
  }
  const twice = seen.addRange(cluster, run.length)
  if (twice < 0) return null
  return new VmapipeError('DAMAGED', 'a cluster comes twice', { drive: info.name, cluster: twice, offset })
}

/** Bytes of its stored blocks. */
export function storedBytes(slots: readonly Slot[]): number {
  return slots.reduce((sum, { mask }) => sum + popcount16(mask), 0) * BLOCK_SIZE
}

/** The masks of a run without blocks past the drive's end, which readers ignore, and the bytes of its blocks before and past that end. */
export function keptBlocks(run: readonly Slot[], { info }: DriveFindings) {
  const masks = new Uint16Array(run.length)
  let blocks = 0
  let past = 0
  for (const [index, { cluster, mask }] of run.entries()) {
    const kept = mask & clusterMask(info.size, cluster)
    masks[index] = kept
    blocks += popcount16(kept)
    // They belong to the drive's last cluster, which is at the end of the run.
    past += popcount16(mask ^ kept)
  }
  return { masks, kept: blocks * BLOCK_SIZE, past: past * BLOCK_SIZE }
}

/** The clusters of these slots, without those of drives that the archive does not declare. */
export function clustersOf(slots: readonly Slot[], drives: Findings['drives']): (ClusterSpan & { id: number })[] {
  const spans = []
  for (const [{ drive: id, cluster: first }, ...rest] of slotRuns(slots)) {
    const drive = drives.get(id)
    const count = Math.min(1 + rest.length, (drive?.seen.size ?? 0) - first)
    if (drive !== undefined && count > 0) spans.push({ id, drive: drive.info.name, first, count })
  }
  return spans
}

/** Text for a message, such as "drive-scsi0 58 to 115", cut to fit on a line. */
export function spanText(spans: readonly ClusterSpan[]): string {
  const texts = spans.slice(0, 3).map(({ drive, first, count }) => {
    return `${drive} ${first}${count > 1 ? ` to ${first + count - 1}` : ''}`
  })
  return [...texts, ...(spans.length > 3 ? [`${spans.length - 3} more stretches`] : [])].join(', ')
}
