/**
 * Lends parts of one piece of memory. It is for programs that the garbage collector must not hold up: while memory is
 * allocated buffer by buffer, the collector searches the whole heap several times until a budget's memory is allocated.
 *
 * No page of it is resident before it is written to.
 */

/** Parts begin at multiples of 64 KiB, the size of a cluster. */
const PAGE = 64 << 10
/** Parts of 8 pages or more come from the end, smaller ones from the front, so that small parts do not split the room for large ones. */
const LARGE = 8

/** One piece of memory from which a budget takes its buffers first. */
export class Arena {
  /** The whole piece. */
  readonly memory: Buffer
  /** 1 for each page that is lent. */
  readonly #lent: Uint8Array
  readonly #parent: Arena | null
  #pages = 0
  #closed = false

  /** Lends `memory`, except for the rest that does not fill a page of 64 KiB. */
  constructor(memory: Buffer, parent: Arena | null = null) {
    this.memory = memory
    this.#lent = new Uint8Array(Math.floor(memory.byteLength / PAGE))
    this.#parent = parent
  }

  static of(bytes: number): Arena {
    return new Arena(Buffer.from(new ArrayBuffer(Arena.room(bytes))))
  }

  /** The bytes of memory that `bytes` bytes take, rounded up to whole pages. */
  static room(bytes: number): number {
    return pagesOf(bytes) * PAGE
  }

  /** A part as an arena of its own, so that small parts of other users never split it; undefined if there is no room. */
  carve(bytes: number): Arena | undefined {
    const part = this.take(Arena.room(bytes))
    return part === null ? undefined : new Arena(part, this)
  }

  /** Gives a carved arena back to its parent as soon as all its parts are back. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.isIdle) this.#parent?.giveBack(this.memory)
  }

  /** Whether no part is lent. */
  get isIdle(): boolean {
    return this.#pages === 0
  }

  /** Exactly `bytes` bytes, with their old content; null if there is no free piece of that size. */
  take(bytes: number): Buffer | null {
    const count = pagesOf(bytes)
    const first = count < LARGE ? this.#fromFront(count) : this.#fromEnd(count)
    if (first < 0) return null
    this.#lent.fill(1, first, first + count)
    this.#pages += count
    return this.memory.subarray(first * PAGE, first * PAGE + bytes)
  }

  /** Takes back a part from `take`. Its bytes must not be used any more. */
  giveBack(part: Buffer): void {
    const first = (part.byteOffset - this.memory.byteOffset) / PAGE
    const count = pagesOf(part.byteLength)
    this.#lent.fill(0, first, first + count)
    this.#pages -= count
    if (this.#closed && this.isIdle) this.#parent?.giveBack(this.memory)
  }

  #fromFront(count: number): number {
    for (let first = this.#lent.indexOf(0); first >= 0 && first + count <= this.#lent.length; ) {
      const taken = this.#lent.subarray(first, first + count).lastIndexOf(1)
      if (taken < 0) return first
      first = this.#lent.indexOf(0, first + taken + 1)
    }
    return -1
  }

  #fromEnd(count: number): number {
    for (let last = this.#lent.lastIndexOf(0); last + 1 >= count; ) {
      const first = last + 1 - count
      const taken = this.#lent.subarray(first, last + 1).indexOf(1)
      if (taken < 0) return first
      const before = first + taken - 1
      if (before < 0) return -1
      last = this.#lent.lastIndexOf(0, before)
    }
    return -1
  }
}

function pagesOf(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / PAGE))
}
