/** Notices sequential readers of a drive and loads the next extents in advance. */

import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import type { DriveInfo } from '../core/items.ts'
import { type Layer, layeredRuns } from './layers.ts'

/** Readers that are followed at once, such as connections of one client, or parts of a drive that are copied in parallel. */
const READERS = 8
/** A request within 1 MiB of a reader's last one belongs to that reader, because parallel requests come in any order. */
const SLACK = 1 << 20
/** A reader is sequential after it has gone on this often. */
const STEADY = 2
/** Clusters that are searched for data to load in advance: 64 MiB of the drive, so that a long hole ends the search. */
const LOOK = 1024

interface Reader {
  /** The byte behind its last request. */
  next: number
  /** How often it went on in order. */
  steps: number
}

export class ReadAhead {
  readonly #drive: DriveInfo
  readonly #layers: readonly Layer[]
  /** The reader that was idle for the longest time is first. */
  readonly #readers: Reader[] = []

  constructor(drive: DriveInfo, layers: readonly Layer[]) {
    this.#drive = drive
    this.#layers = layers
  }

  /** Call before bytes `from` to `to` (not included) are read. */
  see(from: number, to: number): void {
    const at = this.#readers.findLastIndex(({ next }) => Math.abs(from - next) <= SLACK)
    const reader = at < 0 ? { next: to, steps: 0 } : this.#readers[at]
    if (at >= 0) this.#readers.splice(at, 1)
    else if (this.#readers.length === READERS) this.#readers.shift()
    this.#readers.push(reader)
    if (to <= reader.next) return
    reader.next = to
    if (++reader.steps < STEADY) return
    for (const [{ parts }, extents] of this.#extentsFrom(from)) parts.data.ahead([...extents])
  }

  /** The extents with data from this byte on, by archive, as many as may be loaded in advance. */
  #extentsFrom(offset: number): Map<Layer, Set<number>> {
    const first = Math.floor(offset / CLUSTER_SIZE)
    const end = Math.min(first + LOOK, clusterCount(this.#drive.size))
    const found = new Map<Layer, Set<number>>()
    for (const { layer, extent, stored } of layeredRuns(this.#layers, first, end)) {
      if (!stored || extent < 0) continue
      const extents = found.get(layer) ?? new Set<number>()
      found.set(layer, extents.add(extent))
      if (extents.size >= layer.parts.data.window) break
    }
    return found
  }
}
