/** The last extents without a checksum of ours: a compression may say too late that what it gave is not to be trusted. */

import type { ClusterSpan, Findings } from '../findings.ts'

/** What goes back further puts every drive in doubt. */
const KEPT = 64

/** Bytes of the stream; `end` is behind the last. */
interface StreamSpan {
  start: number
  end: number
}

interface Extent extends StreamSpan {
  clusters: readonly (ClusterSpan & { id: number })[]
}

export class Unchecked {
  readonly #extents: Extent[] = []
  /** What is in doubt of extents that have not come as a whole yet. */
  #doubts: StreamSpan[] = []
  /** Where the last one ends that is not kept. */
  #forgotten = -1

  add(extent: Extent, findings: Findings): void {
    if (this.#doubts.some(({ start, end }) => start < extent.end && end > extent.start)) suspect(extent, findings)
    this.#forget(extent.end)
    this.#extents.push(extent)
    if (this.#extents.length > KEPT) this.#forgotten = this.#extents.shift()!.end
  }

  /** Everything from byte `start` to byte `end` is in doubt; what is before `position` has been told of by `add`. */
  doubt({ start, end }: StreamSpan, position: number, findings: Findings): void {
    this.#forget(position)
    if (end > position) this.#doubts.push({ start, end })
    if (start < this.#forgotten) for (const drive of findings.drives.values()) drive.suspectAll()
    else for (const extent of this.#extents) if (extent.end > start) suspect(extent, findings)
  }

  #forget(position: number): void {
    this.#doubts = this.#doubts.filter(({ end }) => end > position)
  }
}

function suspect({ clusters }: Extent, { drives }: Findings): void {
  for (const { id, first, count } of clusters) drives.get(id)!.suspectRange(first, count)
}
