/**
 * Which extent holds which cluster. Of each drive there are runs, in the order of its clusters and without gaps: where
 * each begins, and in which extent it is. Eight bytes a run, so that the index of a drive of 1 TiB takes a few MiB.
 */

/** The place of clusters that no extent holds: those that an archive lacks which was cut. */
const MISSING = 0xffffffff

/** More extents than this cannot be told apart. */
export const MAX_EXTENTS = 2 ** 31 - 1

export interface DriveRuns {
  /** The first cluster of each run. */
  firsts: Uint32Array
  /** For each run 2 * extent, plus 1 where its clusters have blocks stored; or MISSING. */
  places: Uint32Array
  clusters: number
}

/** Clusters of a drive that follow each other, all in one extent, all with blocks stored or all without. */
export interface PlacedRun {
  first: number
  /** Behind the last. */
  end: number
  /** -1 for clusters that the archive does not hold. */
  extent: number
  stored: boolean
}

export class ClusterIndex {
  /** Where each extent begins in the archive, and behind the last of them where they end. */
  readonly offsets: Float64Array
  /** How many clusters each extent has. */
  readonly counts: Uint8Array
  readonly #drives: ReadonlyMap<number, DriveRuns>

  constructor(offsets: Float64Array, counts: Uint8Array, drives: ReadonlyMap<number, DriveRuns>) {
    this.offsets = offsets
    this.counts = counts
    this.#drives = drives
  }

  get extents(): number {
    return this.counts.length
  }

  /** Whether the drive has this cluster, in this extent, and so. */
  agrees(drive: number, cluster: number, extent: number, stored: boolean): boolean {
    const runs = this.#drives.get(drive)
    if (runs === undefined || cluster >= runs.clusters) return false
    return runs.places[runAt(runs, cluster)] === placeOf(extent, stored)
  }

  /** The clusters `from` to `to` (not included) of a drive, run by run, cut to these. */
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

/** Runs in the order of their clusters, and a MISSING one wherever some lack between them. */
export function withGaps({ firsts, places, clusters }: DriveRuns, counts: Uint8Array): DriveRuns {
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
    clusters,
  }
  let [from, to] = [0, 0]
  const copy = (end: number) => {
    filled.firsts.set(firsts.subarray(from, end), to)
    filled.places.set(places.subarray(from, end), to)
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
