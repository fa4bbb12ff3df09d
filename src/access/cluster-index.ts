/**
 * Finds the extent of each cluster. Each drive has runs in the order of its clusters, without gaps. A run has its first cluster and
 * its extent, which take nine bytes with its place in the extent, so that the index of a drive of 1 TiB takes a few MiB.
 */

import type { HashPlace, HashPlaces } from './hash-places.ts'

/** The place of clusters that are in no extent, because the archive was cut. */
const MISSING = 0xffffffff

/** The most extents: a place has 31 bits for the number of the extent. */
export const MAX_EXTENTS = 2 ** 31 - 1

export interface DriveRuns {
  /** The first cluster of each run. */
  firsts: Uint32Array
  /** For each run 2 * extent, plus 1 if its clusters have stored blocks; or MISSING. */
  places: Uint32Array
  /** For each run, how many stored clusters its extent has before it. */
  before: Uint8Array
  clusters: number
}

/** Clusters that follow each other, and whether they are stored. */
export interface StateRange {
  first: number
  count: number
  state: 'stored' | 'zero' | 'absent'
}

/** Stored clusters that follow each other, as their hashes do. `number` is that of the first cluster's hash in the group. */
type HashRun = HashPlace & Pick<PlacedRun, 'first' | 'end'>

/** Clusters of a drive that follow each other in one extent. All have stored blocks, or none has. */
export interface PlacedRun {
  first: number
  /** The cluster behind the last. */
  end: number
  /** -1 for clusters that the archive does not have. */
  extent: number
  stored: boolean
}

export class ClusterIndex {
  /** The place of each extent in the archive, then the end of the last extent. A group of hash records counts as one extent. */
  readonly offsets: Float64Array
  /** The number of clusters of each extent. */
  readonly counts: Uint8Array
  readonly #drives: ReadonlyMap<number, DriveRuns>
  readonly #hashes: HashPlaces | null

  constructor(
    offsets: Float64Array,
    counts: Uint8Array,
    drives: ReadonlyMap<number, DriveRuns>,
    hashes: HashPlaces | null,
  ) {
    this.offsets = offsets
    this.counts = counts
    this.#drives = drives
    this.#hashes = hashes
  }

  /** Whether there are groups of hash records that may be those of all stored clusters. */
  get hasHashes(): boolean {
    return this.#hashes !== null
  }

  /** The number of hashes in a group of hash records, which counts as one extent. */
  hashesIn(group: number): number {
    return this.#hashes!.sizeOf(group)
  }

  get extents(): number {
    return this.counts.length
  }

  /** Whether the index has this cluster of the drive in this extent, stored or not as given. */
  agrees(drive: number, cluster: number, extent: number, stored: boolean): boolean {
    const runs = this.#drives.get(drive)
    if (runs === undefined || cluster >= runs.clusters) return false
    return runs.places[runAt(runs, cluster)] === placeOf(extent, stored)
  }

  /** The states of the clusters `from` to `to` (not included) of a drive, as few ranges as possible. */
  *states(drive: number, from: number, to: number): Generator<StateRange> {
    let open = null as StateRange | null
    for (const { first, end, extent, stored } of this.runs(drive, from, to)) {
      const state = extent < 0 ? 'absent' : stored ? 'stored' : 'zero'
      if (open?.state === state) open.count += end - first
      else {
        if (open !== null) yield open
        open = { first, count: end - first, state }
      }
    }
    if (open !== null) yield open
  }

  /** Where the hashes of the stored ones of the clusters `from` to `to` (not included) are. The index must have hashes. */
  *hashes(drive: number, from: number, to: number): Generator<HashRun> {
    const { firsts, before } = this.#drives.get(drive)!
    let at = runAt(this.#drives.get(drive)!, from)
    for (const { first, end, extent, stored } of this.runs(drive, from, to)) {
      const run = at++
      if (extent < 0 || !stored) continue
      yield { first, end, ...this.#hashes!.of(extent, before[run] + first - firsts[run]) }
    }
  }

  /** The runs of the clusters `from` to `to` (not included) of a drive, cut to these clusters. */
  *runs(drive: number, from: number, to: number): Generator<PlacedRun> {
    const runs = this.#drives.get(drive)!
    const { firsts, places, clusters } = runs
    for (let at = runAt(runs, from), first = from; first < to; at++) {
      const end = Math.min(to, at + 1 < firsts.length ? firsts[at + 1] : clusters)
      const place = places[at]
      yield place === MISSING
        ? { first, end, extent: -1, stored: true }
        : { first, end, extent: place >>> 1, stored: (place & 1) === 1 }
      first = end
    }
  }
}

export function placeOf(extent: number, stored: boolean): number {
  return extent * 2 + (stored ? 1 : 0)
}

/** The run that has this cluster. */
function runAt({ firsts }: DriveRuns, cluster: number): number {
  let low = 0
  let high = firsts.length
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (firsts[middle] <= cluster) low = middle
    else high = middle
  }
  return low
}

/** Adds a MISSING run in each gap between runs, which are in the order of their clusters. */
export function withGaps({ firsts, places, before, clusters }: DriveRuns, counts: Uint8Array): DriveRuns {
  const eachGap = (see: (at: number, first: number) => void) => {
    let next = 0
    for (let at = 0; at <= firsts.length; at++) {
      const first = at < firsts.length ? firsts[at] : clusters
      if (first > next) see(at, next)
      next = first + counts[at]
    }
  }
  let gaps = 0
  eachGap(() => gaps++)
  const filled = {
    firsts: new Uint32Array(firsts.length + gaps),
    places: new Uint32Array(firsts.length + gaps),
    before: new Uint8Array(firsts.length + gaps),
    clusters,
  }
  let [from, to] = [0, 0]
  const copy = (end: number) => {
    filled.firsts.set(firsts.subarray(from, end), to)
    filled.places.set(places.subarray(from, end), to)
    filled.before.set(before.subarray(from, end), to)
    to += end - from
    from = end
  }
  eachGap((at, first) => {
    copy(at)
    filled.firsts[to] = first
    filled.places[to++] = MISSING
  })
  copy(firsts.length)
  return filled
}
