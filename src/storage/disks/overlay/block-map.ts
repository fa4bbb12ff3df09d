/**
 * Which blocks of a disk an overlay has: a bitmap in pages, each what one sector of its file holds. Pages exist where a
 * block is there, and all full pages are one, so that a disk that fills up takes next to no memory.
 */

/** Bytes of bits in a page. */
export const PAGE_BYTES = 508
/** Blocks in a page. */
export const PAGE_BLOCKS = PAGE_BYTES * 8

interface Page {
  count: number
  readonly bits: Uint8Array
}

const FULL: Page = { count: PAGE_BLOCKS, bits: new Uint8Array(PAGE_BYTES).fill(0xff) }

export class BlockMap {
  /** Blocks of the disk. */
  readonly size: number
  #count = 0
  readonly #pages = new Map<number, Page>()
  readonly #trackers: ChangedPages[] = []

  constructor(size: number) {
    this.size = size
  }

  /** How many blocks are there. */
  get count(): number {
    return this.#count
  }

  get isComplete(): boolean {
    return this.#count === this.size
  }

  has(block: number): boolean {
    const page = this.#pages.get(Math.floor(block / PAGE_BLOCKS))
    return page !== undefined && isSet(page, block % PAGE_BLOCKS)
  }

  /** Whether all blocks of `from`..`to` are there. */
  hasAll(from: number, to: number): boolean {
    return from >= to || (this.has(from) && this.runEnd(from, to) === to)
  }

  /** Where the blocks from `from` on that are all there, or all not, end; `to` at most. */
  runEnd(from: number, to: number): number {
    const there = this.has(from)
    let block = from
    while (block < to) {
      const index = Math.floor(block / PAGE_BLOCKS)
      const page = this.#pages.get(index)
      const pageEnd = Math.min(to, (index + 1) * PAGE_BLOCKS)
      if (page === undefined || page === FULL) {
        if ((page === FULL) !== there) return block
        block = pageEnd
        continue
      }
      for (; block < pageEnd; block++) if (isSet(page, block % PAGE_BLOCKS) !== there) return block
    }
    return to
  }

  /** The blocks of `from`..`to` are there from now on. */
  add(from: number, to: number): void {
    for (let block = from; block < to; ) {
      const index = Math.floor(block / PAGE_BLOCKS)
      const end = Math.min(to, (index + 1) * PAGE_BLOCKS)
      if (this.#addToPage(index, block % PAGE_BLOCKS, end - index * PAGE_BLOCKS)) this.#touch(index)
      block = end
    }
  }

  /** Adds the bits of a page as a file had them. Blocks past the end are not looked at. */
  load(index: number, bits: Uint8Array): void {
    const page = this.#pages.get(index) ?? { count: 0, bits: new Uint8Array(PAGE_BYTES) }
    if (page === FULL) return
    const before = page.count
    const blocks = Math.min(PAGE_BLOCKS, this.size - index * PAGE_BLOCKS)
    for (let bit = 0; bit < blocks; bit++) {
      if (((bits[bit >>> 3] >>> (bit & 7)) & 1) === 1 && !isSet(page, bit)) set(page, bit)
    }
    if (page.count === before) return
    this.#count += page.count - before
    this.#keep(index, page)
    this.#touch(index)
  }

  bits(index: number): Uint8Array | undefined {
    return this.#pages.get(index)?.bits
  }

  /** Tells from now on which pages change. */
  track(): ChangedPages {
    const tracker = new ChangedPages()
    this.#trackers.push(tracker)
    return tracker
  }

  /** False where they were there already. */
  #addToPage(index: number, from: number, to: number): boolean {
    const page = this.#pages.get(index) ?? { count: 0, bits: new Uint8Array(PAGE_BYTES) }
    if (page === FULL) return false
    const before = page.count
    if (to - from === PAGE_BLOCKS) {
      this.#pages.set(index, FULL)
      this.#count += PAGE_BLOCKS - before
      return true
    }
    for (let bit = from; bit < to; bit++) if (!isSet(page, bit)) set(page, bit)
    this.#count += page.count - before
    this.#keep(index, page)
    return page.count > before
  }

  #touch(index: number): void {
    for (const tracker of this.#trackers) tracker.add(index)
  }

  #keep(index: number, page: Page): void {
    this.#pages.set(index, page.count === PAGE_BLOCKS ? FULL : page)
  }
}

function isSet({ bits }: Page, bit: number): boolean {
  return ((bits[bit >>> 3] >>> (bit & 7)) & 1) === 1
}

function set(page: Page, bit: number): void {
  page.bits[bit >>> 3] |= 1 << (bit & 7)
  page.count++
}

/** Pages that changed since they were last taken. */
export class ChangedPages {
  #pages = new Set<number>()

  get isEmpty(): boolean {
    return this.#pages.size === 0
  }

  add(page: number): void {
    this.#pages.add(page)
  }

  /** Whether any page of these blocks changed. */
  touches(from: number, to: number): boolean {
    if (this.isEmpty) return false
    const last = Math.floor((to - 1) / PAGE_BLOCKS)
    for (let index = Math.floor(from / PAGE_BLOCKS); index <= last; index++) if (this.#pages.has(index)) return true
    return false
  }

  /** All of them, as a set of its own; none are left. */
  take(): ChangedPages {
    const taken = new ChangedPages()
    taken.#pages = this.#pages
    this.#pages = new Set()
    return taken
  }

  putBack(taken: ChangedPages): void {
    for (const page of taken.#pages) this.#pages.add(page)
  }

  get inOrder(): number[] {
    return [...this.#pages].sort((a, b) => a - b)
  }
}
