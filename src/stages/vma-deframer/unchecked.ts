/** Keeps the last extents without a checksum, because a decoder may report only later that content it gave is in doubt. */

import type { ClusterSpan, Findings } from '../../core/findings.ts'

/** The number of extents that are kept. A doubt about earlier bytes applies to every drive. */
const KEPT = 64

/** Bytes of the stream from `start` to `end` (not included). */
interface StreamSpan {
  start: number
  end: number
}

interface Extent extends StreamSpan {
  clusters: readonly (ClusterSpan & { id: number })[]
}

export class Unchecked {
  readonly #extents: Extent[] = []
  /** Doubtful bytes of extents that have not come as a whole yet. */
  #doubts: StreamSpan[] = []
  /** The end of the last extent that is not kept any more. */
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
