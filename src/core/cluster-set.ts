/**
 * Which clusters of a drive have been seen: a bitmap in pages that exist only while they are partly filled, so that
 * clusters in anything like their order take next to no memory, whatever the size of the drive.
 */

import { VmapipeError } from './errors.ts'

const PAGE_CLUSTERS = 4096
const PAGE_WORDS = PAGE_CLUSTERS / 32
/** Partly filled pages that may exist at once, of all sets that share this; a page takes about 0.6 KiB. */
export class PageAllowance {
  left = 200_000
}

export interface ClusterRange {
  first: number
  count: number
}

interface Page {
  count: number
  words: Uint32Array
}

const FULL: Page = { count: PAGE_CLUSTERS, words: new Uint32Array(PAGE_WORDS).fill(0xffffffff) }

export class ClusterSet {
  /** Clusters of the drive. */
  readonly size: number
  #count = 0
  readonly #allowance: PageAllowance
  readonly #pages: (Page | undefined)[] = []

  constructor(size: number, allowance = new PageAllowance()) {
    this.size = size
    this.#allowance = allowance
  }

  /** How many clusters are in the set. */
  get count(): number {
    return this.#count
  }

  has(cluster: number): boolean {
    const page = this.#pages[Math.floor(cluster / PAGE_CLUSTERS)]
    if (page === undefined) return false
    const bit = cluster % PAGE_CLUSTERS
    return (page.words[bit >>> 5] & (1 << (bit & 31))) !== 0
  }

  /** Whether all of these are in the set; quick also for many. */
  hasRange(first: number, count: number): boolean {
    const end = first + count
    for (let cluster = first; cluster < end; ) {
      const page = this.#pages[Math.floor(cluster / PAGE_CLUSTERS)]
      if (page === undefined) return false
      const bit = cluster % PAGE_CLUSTERS
      if (page === FULL) cluster += PAGE_CLUSTERS - bit
      else if ((bit & 31) === 0 && end - cluster >= 32) {
        if (page.words[bit >>> 5] !== 0xffffffff) return false
        cluster += 32
      } else {
        if ((page.words[bit >>> 5] & (1 << (bit & 31))) === 0) return false
        cluster++
      }
    }
    return true
  }

  /** Adds `count` clusters from `first`. Returns the first of them that was there before, or -1; the set is then not changed. */
  addRange(first: number, count: number): number {
    for (let cluster = first; cluster < first + count; cluster++) {
      // A page that does not exist has nothing to collide with.
      if (this.#pages[Math.floor(cluster / PAGE_CLUSTERS)] === undefined) {
        cluster += PAGE_CLUSTERS - 1 - (cluster % PAGE_CLUSTERS)
      } else if (this.has(cluster)) return cluster
    }
    for (let cluster = first; cluster < first + count; ) cluster += this.#addToPage(cluster, first + count - cluster)
    this.#count += count
    return -1
  }

  /** Adds up to the end of the page; returns how many clusters that were. */
  #addToPage(cluster: number, wanted: number): number {
    const index = Math.floor(cluster / PAGE_CLUSTERS)
    const from = cluster % PAGE_CLUSTERS
    const count = Math.min(wanted, PAGE_CLUSTERS - from)
    if (count === PAGE_CLUSTERS) {
      this.#pages[index] = FULL
      return count
    }
    const page = this.#pages[index] ?? this.#newPage(index)
    for (let bit = from; bit < from + count; bit++) page.words[bit >>> 5] |= 1 << (bit & 31)
    page.count += count
    if (page.count === PAGE_CLUSTERS) {
      this.#pages[index] = FULL
      this.#allowance.left++
    }
    return count
  }

  #newPage(index: number): Page {
    if (this.#allowance.left === 0) {
      throw new VmapipeError('DAMAGED', 'the clusters are too scattered to be kept track of')
    }
    this.#allowance.left--
    const page = { count: 0, words: new Uint32Array(PAGE_WORDS) }
    this.#pages[index] = page
    return page
  }

  /** Adds one that may be there already. */
  add(cluster: number): void {
    if (!this.has(cluster)) this.addRange(cluster, 1)
  }

  /** Adds all of a range, of which some may be there already; a page that is full costs nothing. */
  include(first: number, count: number): void {
    const end = first + count
    for (let cluster = first; cluster < end; ) {
      const next = Math.min(end, (Math.floor(cluster / PAGE_CLUSTERS) + 1) * PAGE_CLUSTERS)
      const page = this.#pages[Math.floor(cluster / PAGE_CLUSTERS)]
      if (page === undefined) this.addRange(cluster, next - cluster)
      else if (page !== FULL) for (; cluster < next; cluster++) this.add(cluster)
      cluster = next
    }
  }

  /** The first cluster that is not in the set, or -1. */
  firstMissing(): number {
    if (this.#count === this.size) return -1
    const [first] = this.ranges(false)
    return first.first
  }

  /** The clusters that are in the set, or those that are not: in order, as few ranges as possible. */
  *ranges(present = true): Generator<ClusterRange> {
    let open: ClusterRange | null = null
    for (const { first, count, filled } of this.#stretches()) {
      if (filled !== present) {
        if (open !== null) yield open
        open = null
      } else if (open === null) open = { first, count }
      else open.count += count
    }
    if (open !== null) yield open
  }

  /** The drive from its beginning to its end; pages and words that are empty or full in one, or a drive could keep us busy. */
  *#stretches(): Generator<ClusterRange & { filled: boolean }> {
    for (let first = 0; first < this.size; ) {
      const page = this.#pages[Math.floor(first / PAGE_CLUSTERS)]
      if (page === undefined || page === FULL) {
        const end = Math.min(this.size, this.#endOfAlike(first / PAGE_CLUSTERS, page) * PAGE_CLUSTERS)
        yield { first, count: end - first, filled: page === FULL }
        first = end
        continue
      }
      const word = page.words[(first % PAGE_CLUSTERS) >>> 5]
      const whole = word === 0 || word === 0xffffffff
      const count = whole ? Math.min(32, this.size - first) : 1
      yield { first, count, filled: whole ? word !== 0 : this.has(first) }
      first += count
    }
  }

  /** The number of the first page from this one on that is not the same. */
  #endOfAlike(index: number, page: Page | undefined): number {
    let end = index + 1
    while (end < this.#pages.length && this.#pages[end] === page) end++
    return end >= this.#pages.length && page === undefined ? Infinity : end
  }
}
