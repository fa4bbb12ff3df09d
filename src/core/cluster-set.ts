/** A set of clusters of one drive. Clusters that arrive roughly in order take almost no memory, whatever the size of the drive. */

import { PageAllowance, PagedBitmap } from './paged-bitmap.ts'

export { PageAllowance } from './paged-bitmap.ts'

/** Bytes of a page, which stands for 4096 clusters (256 MiB of a drive). */
const PAGE_BYTES = 512

/** Consecutive clusters. */
export interface ClusterRange {
  first: number
  count: number
}

export class ClusterSet extends PagedBitmap {
  /** `size` is the number of clusters of the drive. */
  constructor(size: number, allowance = new PageAllowance()) {
    super(size, PAGE_BYTES, allowance)
  }

  /** Whether all of these clusters are in the set. */
  hasRange(first: number, count: number): boolean {
    return this.hasAll(first, first + count)
  }

  /**
   * Adds `count` clusters from `first` and returns -1. If one of them is in the set already, it returns the first such cluster
   * and leaves the set unchanged.
   */
  addRange(first: number, count: number): number {
    if (count > 0 && this.has(first)) return first
    const end = this.runEnd(first, first + count)
    if (end < first + count) return end
    this.add(first, end)
    return -1
  }

  /** Adds a range, parts of which may be in the set already. */
  include(first: number, count: number): void {
    this.add(first, first + count)
  }

  /** The first cluster that is not in the set, or -1. */
  firstMissing(): number {
    if (this.count === this.size) return -1
    return this.has(0) ? this.runEnd(0, this.size) : 0
  }

  /** The clusters that are in the set, or those that are not, in order and in as few ranges as possible. */
  *ranges(present = true): Generator<ClusterRange> {
    for (let first = 0; first < this.size; ) {
      const end = this.runEnd(first, this.size)
      if (this.has(first) === present) yield { first, count: end - first }
      first = end
    }
  }
}
