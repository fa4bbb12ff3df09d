/** Builds an index from the table of an archive (formats/vma/README.md, "The table"), and checks all of it. */

import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, clusterCount } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { formatBytes } from '../core/size.ts'
import { Turns } from '../core/turns.ts'
import { EXTENT_HEADER_SIZE } from '../formats/vma/extent.ts'
import { type DriveTotal, TableReader } from '../formats/vma/table.ts'
import { ClusterIndex, type DriveRuns, MAX_EXTENTS, placeOf, withGaps } from './cluster-index.ts'
import { GrowingNumbers } from './growing-numbers.ts'
import { GrowingRuns } from './growing-runs.ts'
import { HashPlacesBuilder } from './hash-places.ts'

/** The most memory of an index: enough for a drive of 64 TiB in order, or of 1 TiB in no order at all. */
export const INDEX_LIMIT = 256 << 20
const EXTENT_BYTES = 13
const RUN_BYTES = 13
/** Entries that are read before other events may run. */
const AT_ONCE = 1024
/** Repeats of an entry that take as long as another entry, and the most of them at once. */
const REPEATS_OF_AN_ENTRY = 16
const MOST_REPEATS = AT_ONCE * REPEATS_OF_AN_ENTRY

export interface TableOf {
  table: Uint8Array
  extents: number
  /** Bytes of the archive before its first extent. */
  headerSize: number
}

interface BuildOptions {
  /** The end of the extents; not known if the archive has no closing extent. */
  end?: number
  /** Allows missing clusters, for an archive that was cut. */
  gaps?: boolean | undefined
  signal?: AbortSignal | undefined
}

/** Builds an index. Throws DAMAGED if the table contradicts itself, the manifest or `end`. */
export async function buildIndex(
  manifest: Manifest,
  { table, extents, headerSize }: TableOf,
  { signal, ...options }: BuildOptions = {},
): Promise<ClusterIndex> {
  const builder = new IndexBuilder(manifest, headerSize)
  const reader = new TableReader(table)
  const turns = new Turns()
  let work = 0
  for (let count = 0; count < extents; count++) {
    reader.next()
    builder.add(reader)
    const repeats = reader.passRepeats(Math.min(extents - count - 1, MOST_REPEATS))
    if (repeats > 0) builder.repeat(reader, repeats)
    count += repeats
    work += 1 + repeats / REPEATS_OF_AN_ENTRY
    if (work < AT_ONCE) continue
    work = 0
    await turns.take()
    signal?.throwIfAborted()
  }
  // A cluster that an incremental archive does not have is unchanged since its parent.
  return builder.finish(reader.totals(), { ...options, gaps: options.gaps || manifest.isIncremental })
}

interface Collected {
  runs: GrowingRuns
  clusters: number
  total: number
  /** The end of the last run. */
  end: number
  /** Whether each run so far is behind the one before. */
  isInOrder: boolean
}

class IndexBuilder {
  readonly #offsets = new GrowingNumbers(Float64Array)
  readonly #counts = new GrowingNumbers(Uint8Array)
  readonly #hashes = new HashPlacesBuilder()
  readonly #drives = new Map<number, Collected>()
  /** Where the next extent begins. */
  #end: number
  #runs = 0
  #blocks = 0
  /** The drive of the last run: mostly that of the next one too. */
  #lastId = -1
  #lastDrive: Collected | undefined

  constructor({ drives }: Manifest, start: number) {
    this.#end = start
    for (const { id, size } of drives) {
      this.#drives.set(id, { runs: new GrowingRuns(), clusters: clusterCount(size), total: 0, end: 0, isInOrder: true })
    }
  }

  /** Adds the entry that was read. */
  add({ blocks, runs, drives, firsts, counts, stored: isStored }: TableReader): void {
    if (blocks === 0 && runs === 0) {
      this.#record()
      return
    }
    const extent = this.#begin(1)
    let stored = 0
    let clusters = 0
    for (let run = 0; run < runs; run++) {
      const [first, count] = [firsts[run], counts[run]]
      const drive = drives[run] === this.#lastId ? this.#lastDrive! : this.#turnTo(drives[run])
      if (first + count > drive.clusters) throw wrong(`has a cluster past the end of drive ${drives[run]}`)
      drive.total += count
      if (drive.total > drive.clusters) throw wrong(`has a cluster of drive ${drives[run]} twice`)
      if (first < drive.end) drive.isInOrder = false
      drive.end = first + count
      drive.runs.push(first, count, placeOf(extent, isStored[run] === 1), stored)
      clusters += count
      if (isStored[run] === 1) stored += count
    }
    this.#addRuns(runs)
    if (blocks < stored || blocks > stored * BLOCKS_PER_CLUSTER)
      throw wrong(`has ${blocks} blocks for ${stored} clusters in an extent`)
    this.#blocks += blocks
    this.#counts.push(clusters)
    this.#hashes.extent(stored)
    this.#end += EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE
  }

  /** Adds `times` more entries like the last one, each of one run that continues the one before. */
  repeat({ blocks, drives, firsts, counts, stored: isStored }: TableReader, times: number): void {
    const [count, length] = [counts[0], EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE]
    const drive = this.#lastDrive!
    const first = firsts[0] + count
    const more = count * times
    if (first + more > drive.clusters) throw wrong(`has a cluster past the end of drive ${drives[0]}`)
    drive.total += more
    if (drive.total > drive.clusters) throw wrong(`has a cluster of drive ${drives[0]} twice`)
    drive.end = first + more
    const extent = this.#begin(times, length)
    const stored = isStored[0] === 1
    drive.runs.pushSeries(first, count, placeOf(extent, stored), times)
    this.#addRuns(times)
    this.#blocks += blocks * times
    this.#counts.pushSeries(count, 0, times)
    this.#hashes.extents(stored ? count : 0, times)
    this.#end += length * times
  }

  #addRuns(runs: number): void {
    this.#runs += runs
    if (this.#runs * RUN_BYTES > INDEX_LIMIT) throw tooLarge()
  }

  #turnTo(id: number): Collected {
    const drive = this.#drives.get(id)
    if (drive === undefined) throw wrong(`names a drive ${id}, which the header does not have`)
    this.#lastId = id
    this.#lastDrive = drive
    return drive
  }

  /** Adds an extent without clusters: a hash record. Those that follow each other are one extent. */
  #record(): void {
    if (this.#hashes.record(this.#counts.length)) {
      this.#begin(1)
      this.#counts.push(0)
    }
    this.#end += EXTENT_HEADER_SIZE
  }

  /** Begins extents of so many bytes, and returns the number of the first. */
  #begin(times: number, length = 0): number {
    const extent = this.#offsets.length
    const last = extent + times - 1
    if (last >= MAX_EXTENTS || last * EXTENT_BYTES > INDEX_LIMIT) throw tooLarge()
    this.#offsets.pushSeries(this.#end, length, times)
    return extent
  }

  finish(totals: DriveTotal[], { end, gaps = false }: BuildOptions): ClusterIndex {
    if (end !== undefined && this.#end !== end) throw wrong(`makes its extents end at byte ${this.#end}, not ${end}`)
    this.#checkTotals(totals)
    const drives = new Map<number, DriveRuns>()
    for (const [id, collected] of this.#drives) drives.set(id, runsOf(id, collected, gaps))
    this.#offsets.push(this.#end)
    return new ClusterIndex(this.#offsets.take(), this.#counts.take(), drives, this.#hashes.finish())
  }

  #checkTotals(totals: DriveTotal[]): void {
    const blocks = totals.reduce((sum, total) => sum + total.blocks, 0)
    const agree = totals.every(({ drive, clusters }) => this.#drives.get(drive)?.total === clusters)
    const drives = new Set(totals.map(({ drive }) => drive))
    if (!agree || blocks !== this.#blocks || drives.size !== totals.length || drives.size !== this.#drives.size)
      throw wrong('has other totals than its extents')
  }
}

/** The runs of a drive in the order of its clusters. Throws DAMAGED unless every cluster is there once. */
function runsOf(id: number, { runs: collected, clusters, total, isInOrder }: Collected, gaps: boolean): DriveRuns {
  const unordered = collected.take('firsts')
  const order = isInOrder ? null : orderOf(unordered)
  // The arrays are sorted one by one, and each unsorted one is freed at once: this is when an index takes the most memory.
  const sorted = <T extends Uint32Array | Uint8Array>(numbers: T): T =>
    order === null ? numbers : (numbers.map((_, at) => numbers[order[at]]) as T)
  const firsts = sorted(unordered)
  const places = sorted(collected.take('places'))
  const runs = { firsts, places, before: sorted(collected.take('before')), clusters }
  const lengths = sorted(collected.take('counts'))
  if (!isInOrder) refuseDoubles(id, firsts, lengths)
  if (total === clusters) return runs
  if (!gaps) throw wrong(`lacks ${clusters - total} clusters of drive ${id}`)
  return withGaps(runs, lengths)
}

function refuseDoubles(id: number, firsts: Uint32Array, lengths: Uint8Array): void {
  let end = 0
  for (let at = 0; at < firsts.length; at++) {
    if (firsts[at] < end) throw wrong(`has cluster ${firsts[at]} of drive ${id} twice`)
    end = firsts[at] + lengths[at]
  }
}

/** The positions of the numbers in rising order, by radix sort. */
function orderOf(numbers: Uint32Array): Uint32Array {
  let order = new Uint32Array(numbers.length).map((_, at) => at)
  for (const shift of [0, 16]) {
    const ends = new Uint32Array(65537)
    for (const value of numbers) ends[((value >>> shift) & 0xffff) + 1]++
    for (let digit = 1; digit < ends.length; digit++) ends[digit] += ends[digit - 1]
    const next = new Uint32Array(order.length)
    for (const at of order) next[ends[(numbers[at] >>> shift) & 0xffff]++] = at
    order = next
  }
  return order
}

function wrong(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the index of the archive ${what}`)
}

function tooLarge(): VmapipeError {
  return new VmapipeError(
    'DAMAGED',
    `the index of the archive would take more than ${formatBytes(INDEX_LIMIT)} of memory`,
  )
}
