/** Encodes and decodes the table of an archive: the index of its clusters, and the totals of its drives (README.md beside this file). */

import { VmapipeError } from '../../core/errors.ts'
import { BLOCKS_PER_CLUSTER, popcount16 } from '../../core/geometry.ts'
import { VarintReader, VarintWriter } from '../varint.ts'
import { SLOTS } from './extent-header.ts'

export interface DriveTotal {
  drive: number
  clusters: number
  /** 4 KiB blocks that are stored. */
  blocks: number
}

/** Clusters that follow each other in a drive and in an extent. All have stored blocks, or none has. */
interface IndexRun {
  drive: number
  first: number
  count: number
  stored: boolean
}

export interface IndexEntry {
  /** 4 KiB blocks of the extent. */
  blocks: number
  runs: IndexRun[]
}

/** Encodes the table of an archive. Call `add` for every cluster in the order of the slots, and `endExtent` behind every extent. */
export class TableEncoder {
  readonly #totals = new Map<number, DriveTotal>()
  /** The cluster behind each drive's last run. */
  readonly #expected = new Map<number, number>()
  readonly #entries = new VarintWriter()
  #runs: IndexRun[] = []
  #blocks = 0

  constructor(drives: readonly number[]) {
    for (const drive of [...drives].sort((a, b) => a - b)) this.#totals.set(drive, { drive, clusters: 0, blocks: 0 })
  }

  add(drive: number, cluster: number, mask: number): void {
    const total = this.#totals.get(drive)!
    const blocks = popcount16(mask)
    total.clusters++
    total.blocks += blocks
    this.#blocks += blocks
    this.#extend(drive, cluster, 1, blocks > 0)
  }

  /** Adds clusters without data. */
  addZeroes(drive: number, first: number, count: number): void {
    this.#totals.get(drive)!.clusters += count
    this.#extend(drive, first, count, false)
  }

  #extend(drive: number, first: number, count: number, stored: boolean): void {
    const last = this.#runs.at(-1)
    if (last?.drive === drive && last.stored === stored && last.first + last.count === first) last.count += count
    else this.#runs.push({ drive, first, count, stored })
  }

  endExtent(): void {
    this.#entries.add(this.#blocks, this.#runs.length)
    for (const { drive, first, count, stored } of this.#runs) {
      this.#entries.add(drive)
      this.#entries.addSigned(first - (this.#expected.get(drive) ?? 0))
      this.#entries.add(2 * (count - 1) + (stored ? 1 : 0))
      this.#expected.set(drive, first + count)
    }
    this.#runs = []
    this.#blocks = 0
  }

  /** The encoded index so far, without what `clear` has removed. */
  get entries(): VarintWriter {
    return this.#entries
  }

  /** The encoded totals, with which the table ends. */
  totals(): Buffer {
    const totals = new VarintWriter()
    this.#addTotals(totals)
    return totals.bytes
  }

  /** The whole table, to which nothing can be added then. It may have many MiB, so it is no copy. */
  finish(): Buffer {
    this.#addTotals(this.#entries)
    return this.#entries.bytes
  }

  #addTotals(writer: VarintWriter): void {
    writer.add(this.#totals.size)
    for (const { drive, clusters, blocks } of this.#totals.values()) writer.add(drive, clusters, blocks)
  }
}

/** Gives the entries of a table's index one by one and returns the totals. `extents` is the number of entries. Throws DAMAGED. */
export function* readTable(bytes: Uint8Array, extents: number): Generator<IndexEntry, DriveTotal[]> {
  const reader = new VarintReader(bytes)
  yield* readEntries(reader, extents)
  const drives = reader.next()
  if (drives > 255) throw wrong(`names ${drives} drives`)
  const totals: DriveTotal[] = []
  for (let index = 0; index < drives; index++)
    totals.push({ drive: reader.next(), clusters: reader.next(), blocks: reader.next() })
  if (!reader.isAtEnd) throw wrong('has bytes behind its end')
  return totals
}
function* readEntries(reader: VarintReader, extents: number): Generator<IndexEntry> {
  const expected = new Map<number, number>()
  for (let entry = 0; entry < extents; entry++) {
    const blocks = reader.next()
    const runs: IndexRun[] = []
    let slots = 0
    for (let left = reader.next(); left > 0; left--) {
      const drive = reader.next()
      const first = (expected.get(drive) ?? 0) + reader.nextSigned()
      const shape = reader.next()
      const count = Math.floor(shape / 2) + 1
      slots += count
      if (slots > SLOTS) throw wrong(`has ${slots} clusters in an extent`)
      if (first < 0) throw wrong('has a cluster before the first')
      expected.set(drive, first + count)
      runs.push({ drive, first, count, stored: shape % 2 === 1 })
    }
    if (blocks > slots * BLOCKS_PER_CLUSTER) throw wrong(`has ${blocks} blocks in an extent of ${slots} clusters`)
    yield { blocks, runs }
  }
}

function wrong(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the table of the archive ${what}`)
}
