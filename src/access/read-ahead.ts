/** Notices who reads a drive from front to back, and has what comes next read meanwhile. */

import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import type { DriveInfo } from '../core/items.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { ExtentData } from './extent-data.ts'

/** Readers that are followed at once: connections of one client, or parts of a drive that are copied side by side. */
const READERS = 8
/** Requests under way at once come in any order: so near to the last one they are still of the same reader. */
const SLACK = 1 << 20
/** So often it must have gone on where it was. */
const STEADY = 2
/** Clusters that are looked through for data to read ahead: holes are not waited for. */
const LOOK = 1024

interface Reader {
  /** Behind what it has read. */
  next: number
  /** How often it went on. */
  steps: number
}

export class ReadAhead {
  readonly #drive: DriveInfo
  readonly #index: ClusterIndex
  readonly #data: ExtentData
  /** The one that was idle for the longest time first. */
  readonly #readers: Reader[] = []

  constructor(drive: DriveInfo, { index, data }: { index: ClusterIndex; data: ExtentData }) {
    this.#drive = drive
    this.#index = index
    this.#data = data
  }

  /** The bytes `from` to `to` (not included) are about to be read. */
  see(from: number, to: number): void {
    const at = this.#readers.findLastIndex(({ next }) => Math.abs(from - next) <= SLACK)
    const reader = at < 0 ? { next: to, steps: 0 } : this.#readers[at]
    if (at >= 0) this.#readers.splice(at, 1)
    else if (this.#readers.length === READERS) this.#readers.shift()
    this.#readers.push(reader)
    if (to <= reader.next) return
    reader.next = to
    if (++reader.steps >= STEADY) this.#data.ahead(this.#extentsFrom(from))
  }

  /** Those with the data of this byte and what follows it, as many as may be asked for. */
  #extentsFrom(offset: number): number[] {
    const first = Math.floor(offset / CLUSTER_SIZE)
    const end = Math.min(first + LOOK, clusterCount(this.#drive.size))
    const extents = new Set<number>()
    for (const { extent, stored } of this.#index.runs(this.#drive.id, first, end)) {
      if (stored && extent >= 0) extents.add(extent)
      if (extents.size >= this.#data.window) break
    }
    return [...extents]
  }
}
