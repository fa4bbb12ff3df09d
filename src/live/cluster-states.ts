/**
 * The clusters of one drive during a backup: free, busy (claimed by the scan or by a copy, or still touched by a write from
 * before the point in time), or settled: their old data is in memory. Each cluster is claimed once. A request may wait for busy
 * clusters.
 */

import { type ClusterRange, ClusterSet } from '../core/cluster-set.ts'
import { clusterCount } from '../core/geometry.ts'
import { Gate } from './gate.ts'

/** Clusters of a drive. */
export interface Clusters {
  /** The number of clusters that the drive has. */
  readonly size: number
  /** The number of clusters in the set. */
  readonly count: number
  has(cluster: number): boolean
  /** The end of the clusters from `from` on that are all in the set, or all not; at most `to`. */
  runEnd(from: number, to: number): number
}

/** Clusters of a write that was given to the disk. Its gate opens when the disk has done it. */
export interface UnfinishedWrite {
  readonly first: number
  readonly last: number
  readonly gate: Gate
}

export class ClusterStates {
  readonly #settled: ClusterSet
  readonly #busy = new Map<number, Gate>()
  #over = false
  /** The clusters that are wanted; all unless given. */
  #wanted: Clusters | null = null

  /** `size` of the drive in bytes. */
  constructor(size: number) {
    this.#settled = new ClusterSet(clusterCount(size))
  }

  /** Only these clusters are wanted. All others are as if they were settled. */
  limitTo(wanted: Clusters): void {
    this.#wanted = wanted
  }

  /** Keeps the clusters of these writes busy until all of them are done, and resolves then. */
  async waitFor(writes: readonly UnfinishedWrite[]): Promise<void> {
    const gate = new Gate()
    for (const { first, last } of writes) {
      for (let cluster = first; cluster <= last; cluster++) this.#busy.set(cluster, gate)
    }
    await Promise.all(writes.map((write) => write.gate.passed()))
    for (const { first, last } of writes) this.#release(first, last - first + 1)
  }

  areSettled(first: number, last: number): boolean {
    if (this.#wanted === null) return this.#settled.hasRange(first, last - first + 1)
    for (let cluster = first; cluster <= last; ) {
      const end = this.#wanted.runEnd(cluster, last + 1)
      if (this.#wanted.has(cluster) && !this.#settled.hasRange(cluster, end - cluster)) return false
      cluster = end
    }
    return true
  }

  /** How many of these clusters are free. */
  free(first: number, count: number): number {
    let free = 0
    for (let cluster = first; cluster < first + count; cluster++) if (this.#isFree(cluster)) free++
    return free
  }

  /** Claims the free ones of `first` to `last`, at most `most`, in ranges of at most `longest` with a gate each. */
  claim(first: number, last: number, most = last - first + 1, longest = most): ClusterRange[] {
    const ranges: ClusterRange[] = []
    let gate = new Gate()
    let left = most
    for (let cluster = first; cluster <= last && left > 0; cluster++) {
      if (!this.#isFree(cluster)) continue
      const open = ranges.at(-1)
      if (open !== undefined && open.first + open.count === cluster && open.count < longest) open.count++
      else {
        ranges.push({ first: cluster, count: 1 })
        gate = new Gate()
      }
      this.#busy.set(cluster, gate)
      left--
    }
    return ranges
  }

  /** The old data of these clusters is in memory. Requests that wait for them look again. */
  settle(first: number, count: number): void {
    if (this.#over) return
    this.#settled.addRange(first, count)
    this.#release(first, count)
  }

  /** Resolves when every range is over that keeps one of these clusters busy now. */
  async passed(first: number, last: number): Promise<void> {
    const gates = new Set<Gate>()
    for (let cluster = first; cluster <= last; cluster++) {
      const gate = this.#busy.get(cluster)
      if (gate !== undefined) gates.add(gate)
    }
    await Promise.all([...gates].map((gate) => gate.passed()))
  }

  /** Opens every gate. From now on nothing is settled any more. */
  end(): void {
    this.#over = true
    for (const gate of new Set(this.#busy.values())) gate.open()
    this.#busy.clear()
  }

  #isFree(cluster: number): boolean {
    return !this.#settled.has(cluster) && !this.#busy.has(cluster) && this.#wanted?.has(cluster) !== false
  }

  #release(first: number, count: number): void {
    const gates = new Set<Gate>()
    for (let cluster = first; cluster < first + count; cluster++) {
      const gate = this.#busy.get(cluster)
      if (gate !== undefined) gates.add(gate)
      this.#busy.delete(cluster)
    }
    for (const gate of gates) gate.open()
  }
}
