/**
 * Memory in one piece that is lent in parts, for who must not be held up by the garbage collector: memory that comes piece
 * by piece makes it look through everything several times over until as much is there as a budget allows.
 *
 * Nothing of it is resident before it is written to.
 */

/** Parts begin at multiples of so many bytes: a cluster. */
const PAGE = 64 << 10
/** Parts of so many pages come from the end, smaller ones from the front, so that these leave room for those. */
const LARGE = 8

export class Arena {
  /** All of it. */
  readonly memory: Buffer
  /** 1 for each page that is lent. */
  readonly #lent: Uint8Array
  readonly #parent: Arena | null
  #pages = 0
  #closed = false

  /** All of `memory`, as far as it makes whole pages of 64 KiB. */
  constructor(memory: Buffer, parent: Arena | null = null) {
    this.memory = memory
    this.#lent = new Uint8Array(Math.floor(memory.byteLength / PAGE))
    this.#parent = parent
  }

  static of(bytes: number): Arena {
    return new Arena(Buffer.from(new ArrayBuffer(Arena.room(bytes))))
  }

  /** What has to be there for so many bytes. */
  static room(bytes: number): number {
    return pagesOf(bytes) * PAGE
  }

  /** A part for one who lends from it by itself, so that small parts of others never break it up; undefined where there is none. */
  carve(bytes: number): Arena | undefined {
    const part = this.take(Arena.room(bytes))
    return part === null ? undefined : new Arena(part, this)
  }

  /** It goes back to where it was carved from, when everything is back that was lent of it. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.isIdle) this.#parent?.giveBack(this.memory)
  }

  /** Whether nothing of it is lent. */
  get isIdle(): boolean {
    return this.#pages === 0
  }

  /** Exactly `bytes` bytes, with whatever was in them; null where there are not so many in one piece. */
  take(bytes: number): Buffer | null {
    const count = pagesOf(bytes)
    const first = count < LARGE ? this.#fromFront(count) : this.#fromEnd(count)
    if (first < 0) return null
    this.#lent.fill(1, first, first + count)
    this.#pages += count
    return this.memory.subarray(first * PAGE, first * PAGE + bytes)
  }

  /** What `take` has given; nobody may look at it any more. */
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
