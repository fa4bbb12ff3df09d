/**
 * A set of clusters of one drive. It is a bitmap in pages, which exist only while they are partly filled. Clusters that
 * arrive roughly in order therefore take almost no memory, whatever the size of the drive.
 */

import { VmapipeError } from './errors.ts'

const PAGE_CLUSTERS = 4096
const PAGE_WORDS = PAGE_CLUSTERS / 32
/** The number of partly filled pages that may exist at once, in all sets that share this. A page takes about 0.6 KiB. */
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
  /** The number of clusters of the drive. */
  readonly size: number
  #count = 0
  readonly #allowance: PageAllowance
  readonly #pages: (Page | undefined)[] = []

  constructor(size: number, allowance = new PageAllowance()) {
    this.size = size
    this.#allowance = allowance
  }

  /** The number of clusters in the set. */
  get count(): number {
    return this.#count
  }

  has(cluster: number): boolean {
    const page = this.#pages[Math.floor(cluster / PAGE_CLUSTERS)]
    if (page === undefined) return false
    const bit = cluster % PAGE_CLUSTERS
    return (page.words[bit >>> 5] & (1 << (bit & 31))) !== 0
  }

  /** Whether all of these clusters are in the set. A full page is one step. */
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

  /**
   * Adds `count` clusters from `first` and returns -1. If one of them is in the set already, it returns the first such cluster
   * and leaves the set unchanged.
   */
  addRange(first: number, count: number): number {
    for (let cluster = first; cluster < first + count; cluster++) {
      // A page that does not exist has no clusters.
      if (this.#pages[Math.floor(cluster / PAGE_CLUSTERS)] === undefined) {
        cluster += PAGE_CLUSTERS - 1 - (cluster % PAGE_CLUSTERS)
      } else if (this.has(cluster)) return cluster
    }
    for (let cluster = first; cluster < first + count; ) cluster += this.#addToPage(cluster, first + count - cluster)
    this.#count += count
    return -1
  }

  /** Adds clusters up to the end of the page and returns their number. */
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

  /** Adds a cluster that may be in the set already. */
  add(cluster: number): void {
    if (!this.has(cluster)) this.addRange(cluster, 1)
  }

  /** Adds a range, parts of which may be in the set already. A full page costs nothing. */
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

  /** The clusters that are in the set, or those that are not, in order and in as few ranges as possible. */
  *ranges(present = true): Generator<ClusterRange> {
    let open: ClusterRange | null = null
    for (const { first, count, filled } of this.#uniformRanges()) {
      if (filled !== present) {
        if (open !== null) yield open
        open = null
      } else if (open === null) open = { first, count }
      else open.count += count
    }
    if (open !== null) yield open
  }

  /**
   * The whole drive as ranges that are all in the set or all out of it. Empty and full pages are joined, and empty and full
   * words are taken whole: a large drive would keep the event loop busy otherwise.
   */
  *#uniformRanges(): Generator<ClusterRange & { filled: boolean }> {
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

  /** The index of the first page after `index` that is not the same page. */
  #endOfAlike(index: number, page: Page | undefined): number {
    let end = index + 1
    while (end < this.#pages.length && this.#pages[end] === page) end++
    return end >= this.#pages.length && page === undefined ? Infinity : end
  }
}
