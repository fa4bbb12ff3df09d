/**
 * Finds the archive that has each cluster of a drive: the newest of a chain. An ordinary archive is a chain of one. A cluster that an
 * incremental archive does not have is that of its parent.
 */

import type { ClusterIndex, PlacedRun } from './cluster-index.ts'
import type { ExtentData } from './extent-data.ts'
import type { ExtentHeaders } from './extent-headers.ts'

/** The objects that the drives of an archive share. */
export interface ArchiveParts {
  index: ClusterIndex
  headers: ExtentHeaders
  data: ExtentData
  /** The archive's place, for errors; null if it is the only one. */
  place: string | null
}

/** One archive of a chain, as far as it has a drive. */
export interface Layer {
  parts: ArchiveParts
  /** The drive's dev_id in this archive. */
  id: number
  /** The number of clusters that the drive has in this archive. */
  clusters: number
  /** The number of its first extent, if the extents of the whole chain are counted from the oldest archive on. */
  base: number
}

/** Clusters that follow each other in one extent of one archive of a chain. */
export interface LayeredRun extends PlacedRun {
  layer: Layer
}

interface Level {
  depth: number
  runs: Iterator<PlacedRun>
}

/**
 * The runs of the clusters `from` to `to` (not included) of a drive, each from the first of the layers that has it. The newest is the
 * first. Clusters that none of them has are a run of extent -1.
 */
export function* layeredRuns(layers: readonly Layer[], from: number, to: number): Generator<LayeredRun> {
  // A stack of its own instead of recursion: a chain may have very many archives.
  const stack: Level[] = [{ depth: 0, runs: runsOf(layers[0], from, to) }]
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const { value: run, done } = top.runs.next()
    if (done) stack.pop()
    else if (run.extent >= 0 || top.depth + 1 === layers.length) yield { ...run, layer: layers[top.depth] }
    else stack.push({ depth: top.depth + 1, runs: runsOf(layers[top.depth + 1], run.first, run.end) })
  }
}

/** The runs of a layer, and a missing one behind the end of its drive. */
function* runsOf({ parts, id, clusters }: Layer, from: number, to: number): Generator<PlacedRun> {
  const end = Math.min(to, clusters)
  if (from < end) yield* parts.index.runs(id, from, end)
  if (end < to) yield { first: Math.max(from, end), end: to, extent: -1, stored: true }
}
