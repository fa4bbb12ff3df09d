/** Which blocks of a disk an overlay has: a bitmap, each page of which fits into one sector of its file. */

import { PagedBitmap } from '../../../core/paged-bitmap.ts'

/** Bytes of a page: a sector of 512 bytes without its checksum. */
const PAGE_BYTES = 508
/** Blocks in a page. */
export const PAGE_BLOCKS = PAGE_BYTES * 8

export class BlockMap extends PagedBitmap {
  readonly #trackers: ChangedPages[] = []

  /** `size` is the number of blocks of the disk. */
  constructor(size: number) {
    super(size, PAGE_BYTES)
  }

  get isComplete(): boolean {
    return this.count === this.size
  }

  /** Notes from now on which pages change. */
  track(): ChangedPages {
    const tracker = new ChangedPages()
    this.#trackers.push(tracker)
    return tracker
  }

  protected override changed(page: number): void {
    for (const tracker of this.#trackers) tracker.add(page)
  }
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

  /** Takes all of them, as a set of its own. */
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
