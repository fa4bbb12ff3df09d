/** The last extents without a checksum of ours: a compression may say too late that what it gave is not to be trusted. */

import type { ClusterSpan, Findings } from '../findings.ts'

/** Of an archive of ours a frame has the content of two. What goes back further puts every drive in doubt. */
const KEPT = 64

interface Extent {
  /** Where in the stream it ends. */
  end: number
  clusters: readonly (ClusterSpan & { id: number })[]
}

export class Unchecked {
  readonly #extents: Extent[] = []
  /** Where the last one ends that is not kept. */
  #forgotten = -1

  add(extent: Extent): void {
    this.#extents.push(extent)
    if (this.#extents.length > KEPT) this.#forgotten = this.#extents.shift()!.end
  }

  /** Everything from byte `start` on is in doubt. */
  doubt(start: number, { drives }: Findings): void {
    if (start < this.#forgotten) {
      for (const drive of drives.values()) drive.suspectAll()
      return
    }
    for (const { end, clusters } of this.#extents) {
      if (end > start) for (const { id, first, count } of clusters) drives.get(id)!.suspectRange(first, count)
    }
  }
}
