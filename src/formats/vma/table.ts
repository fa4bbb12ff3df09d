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

/**
 * Reads a table entry by entry, into the same memory: a large table has millions. Errors: DAMAGED.
 *
 *     const table = new TableReader(bytes)
 *     for (let entry = 0; entry < extents; entry++) {
 *       table.next()
 *       for (let run = 0; run < table.runs; run++) ... table.drives[run], table.firsts[run], table.counts[run], table.stored[run]
 *     }
 *     const totals = table.totals()
 */
export class TableReader {
  /** 4 KiB blocks of the extent of this entry. */
  blocks = 0
  /** The number of its runs. Of each run there are drive, first cluster, number of clusters, and 1 if all are stored. */
  runs = 0
  readonly drives = new Float64Array(SLOTS)
  readonly firsts = new Float64Array(SLOTS)
  readonly counts = new Uint8Array(SLOTS)
  readonly stored = new Uint8Array(SLOTS)
  readonly #reader: VarintReader
  /** Where the last entry begins. */
  #start = 0
  /** Whether it is one run, which continues what its drive had before. */
  #isSimple = false
  /** The cluster behind each drive's last run, except for the drive of the last run of all. */
  readonly #expected = new Map<number, number>()
  #drive = -1
  #next = 0

  constructor(bytes: Uint8Array) {
    this.#reader = new VarintReader(bytes)
  }

  /** Reads the next entry of the index. */
  next(): void {
    const reader = this.#reader
    this.#start = reader.position
    this.#isSimple = false
    this.blocks = reader.next()
    this.runs = 0
    let slots = 0
    for (let left = reader.next(); left > 0; left--) {
      const drive = reader.next()
      if (drive !== this.#drive) this.#turnTo(drive)
      const first = this.#next + reader.nextSigned()
      const shape = reader.next()
      const count = Math.floor(shape / 2) + 1
      slots += count
      if (slots > SLOTS) throw wrong(`has ${slots} clusters in an extent`)
      if (first < 0) throw wrong('has a cluster before the first')
      this.#isSimple = this.runs === 0 && left === 1 && first === this.#next
      this.#next = first + count
      this.drives[this.runs] = drive
      this.firsts[this.runs] = first
      this.counts[this.runs] = count
      this.stored[this.runs++] = shape % 2
    }
    if (this.blocks > slots * BLOCKS_PER_CLUSTER)
      throw wrong(`has ${this.blocks} blocks in an extent of ${slots} clusters`)
  }

  /**
   * Passes over entries that are the same as the last one, at most `most`: extents of one run each, with as many clusters, that continue
   * it. Returns their number. A large drive has millions of them, of holes or of data.
   */
  passRepeats(most: number): number {
    if (!this.#isSimple) return 0
    const times = this.#reader.passRepeats(this.#start, most)
    this.#next += times * this.counts[0]
    return times
  }

  /** Reads what follows the index, up to the end of the table. */
  totals(): DriveTotal[] {
    const reader = this.#reader
    const drives = reader.next()
    if (drives > 255) throw wrong(`names ${drives} drives`)
    const totals: DriveTotal[] = []
    for (let index = 0; index < drives; index++)
      totals.push({ drive: reader.next(), clusters: reader.next(), blocks: reader.next() })
    if (!reader.isAtEnd) throw wrong('has bytes behind its end')
    return totals
  }

  #turnTo(drive: number): void {
    if (this.#drive >= 0) this.#expected.set(this.#drive, this.#next)
    this.#drive = drive
    this.#next = this.#expected.get(drive) ?? 0
  }
}

function wrong(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the table of the archive ${what}`)
}
