/**
 * A bitmap in pages. A page has memory only while it is partly filled: empty pages do not exist, and all full pages are one. A bitmap
 * that is filled roughly in order takes almost no memory, whatever its size.
 */

import { VmapipeError } from './errors.ts'

/** The number of partly filled pages that may exist at once, in all bitmaps that share this. A page of 512 bytes takes about 0.6 KiB. */
export class PageAllowance {
  left = 200_000
}

interface Page {
  /** Bits that are set. */
  count: number
  /** The lowest bit of a byte is first. */
  readonly bytes: Uint8Array
}

export class PagedBitmap {
  /** The number of bits. */
  readonly size: number
  #count = 0
  readonly #pageBits: number
  readonly #full: Page
  readonly #pages: (Page | undefined)[] = []
  readonly #allowance: PageAllowance | null

  constructor(size: number, pageBytes: number, allowance: PageAllowance | null = null) {
    this.size = size
    this.#pageBits = pageBytes * 8
    this.#full = fullPage(pageBytes)
    this.#allowance = allowance
  }

  /** The number of bits that are set. */
  get count(): number {
    return this.#count
  }

  has(bit: number): boolean {
    const page = this.#pages[Math.floor(bit / this.#pageBits)]
    return page !== undefined && isSet(page, bit % this.#pageBits)
  }

  /** Whether the bits `from` to `to` (not included) are all set. */
  hasAll(from: number, to: number): boolean {
    return from >= to || (this.has(from) && this.runEnd(from, to) === to)
  }

  /** The end of the bits from `from` on that are all set, or all not set; at most `to`. Full and empty pages are one step each. */
  runEnd(from: number, to: number): number {
    const value = this.has(from)
    let bit = from
    while (bit < to) {
      const index = Math.floor(bit / this.#pageBits)
      const page = this.#pages[index]
      const end = Math.min(to, (index + 1) * this.#pageBits)
      if (page === undefined || page === this.#full) {
        if ((page !== undefined) !== value) return bit
      } else {
        const start = index * this.#pageBits
        const stop = start + runEndIn(page, bit - start, end - start, value)
        if (stop < end) return stop
      }
      bit = end
    }
    return to
  }

  /** Sets the bits `from` to `to` (not included), some of which may be set already. Throws DAMAGED if no page is allowed any more. */
  add(from: number, to = from + 1): void {
    for (let bit = from; bit < to; ) {
      const index = Math.floor(bit / this.#pageBits)
      const start = index * this.#pageBits
      const end = Math.min(to, start + this.#pageBits)
      const page = this.#pages[index]
      if (page !== this.#full) this.#addTo(index, page, bit - start, end - start)
      bit = end
    }
  }

  /** Bits of a page; undefined if none is set. */
  bits(index: number): Uint8Array | undefined {
    return this.#pages[index]?.bytes
  }

  /** Sets the bits of a page that are set in `bytes`. Bits behind the end of the bitmap are ignored. */
  load(index: number, bytes: Uint8Array): void {
    const first = index * this.#pageBits
    const end = Math.min(this.#pageBits, this.size - first)
    const source: Page = { count: 0, bytes }
    for (let bit = 0; bit < end; ) {
      const next = runEndIn(source, bit, end, isSet(source, bit))
      if (isSet(source, bit)) this.add(first + bit, first + next)
      bit = next
    }
  }

  /** Called with each page in which a bit was set. */
  protected changed(_page: number): void {}

  /** Sets bits of a page that is not full. */
  #addTo(index: number, found: Page | undefined, from: number, to: number): void {
    if (from === 0 && to === this.#pageBits) {
      this.#count += to - (found?.count ?? 0)
      this.#fill(index, found)
      this.changed(index)
      return
    }
    const page = found ?? this.#newPage(index)
    const before = page.count
    for (let bit = from; bit < to; bit++) set(page, bit)
    if (page.count === before) return
    this.#count += page.count - before
    if (page.count === this.#pageBits) this.#fill(index, page)
    this.changed(index)
  }

  #fill(index: number, page: Page | undefined): void {
    this.#pages[index] = this.#full
    if (page !== undefined && this.#allowance !== null) this.#allowance.left++
  }

  #newPage(index: number): Page {
    const allowance = this.#allowance
    if (allowance?.left === 0) throw new VmapipeError('DAMAGED', 'the clusters are too scattered to be kept track of')
    if (allowance !== null) allowance.left--
    const page = { count: 0, bytes: new Uint8Array(this.#full.bytes.length) }
    this.#pages[index] = page
    return page
  }
}

const FULL_PAGES = new Map<number, Page>()

function fullPage(bytes: number): Page {
  const page = FULL_PAGES.get(bytes) ?? { count: bytes * 8, bytes: new Uint8Array(bytes).fill(0xff) }
  FULL_PAGES.set(bytes, page)
  return page
}

function isSet({ bytes }: Page, bit: number): boolean {
  return ((bytes[bit >>> 3] >>> (bit & 7)) & 1) === 1
}

function set(page: Page, bit: number): void {
  const mask = 1 << (bit & 7)
  if ((page.bytes[bit >>> 3] & mask) !== 0) return
  page.bytes[bit >>> 3] |= mask
  page.count++
}

/** The end of the bits from `from` on that have this value, at most `to`. Whole bytes are one step each. */
function runEndIn(page: Page, from: number, to: number, value: boolean): number {
  const whole = value ? 0xff : 0
  let bit = from
  while (bit < to) {
    if ((bit & 7) === 0 && page.bytes[bit >>> 3] === whole) bit += 8
    else if (isSet(page, bit) === value) bit++
    else return bit
  }
  return to
}
