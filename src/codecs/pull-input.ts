/**
 * The input of a decoder, from which it pulls bytes. The stage's `transform` pushes chunks into it and waits until the decoder wants
 * more.
 */

import { ByteQueue, type Taken } from '../core/byte-queue.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Chunk } from '../core/items.ts'
import { Turns } from '../core/turns.ts'
import type { StreamChecksum } from './stream-checksum.ts'

/** Recognises the beginning of a frame, to find the next one behind damage. */
export interface FrameStart {
  magic: readonly Buffer[]
  /** Whether a frame could begin with these bytes. There are LOOK of them, or fewer at the end. */
  couldBe(start: Buffer): boolean
}

const LOOK = 32

/** Bytes that are searched for all magic numbers before the next bytes: a rare one would otherwise be searched for far ahead each time. */
const WINDOW = 8 << 10

/** The most bytes of one view (1 MiB). */
const PIECE = 1 << 20

export class PullInput {
  readonly #queue = new ByteQueue()
  readonly #check: StreamChecksum
  #furthest = 0
  readonly #turns = new Turns()
  #ended = false
  #failure: { error: unknown } | null = null
  #wakeReader: (() => void) | null = null
  #wakeWriter: (() => void) | null = null

  /** `check` sees all bytes that are used. */
  constructor(check: StreamChecksum) {
    this.#check = check
  }

  /** The place in the stream of the first byte that was never read. */
  get furthest(): number {
    return Math.max(this.#furthest, this.position)
  }

  /** The place of the next byte in the stream. */
  get position(): number {
    return this.#queue.position
  }

  /** Bytes that have come and were not read yet. */
  get length(): number {
    return this.#queue.length
  }

  /** Gives a chunk to the decoder. Resolves when the decoder wants more; throws the decoder's error if it failed. */
  async feed(chunk: Chunk): Promise<void> {
    this.#queue.push(chunk)
    if (this.#failure === null) await this.#untilWanted()
    this.#throwFailure()
  }

  #untilWanted(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeWriter = resolve
      this.#wakeReader?.()
    })
  }

  /** Ends the input. */
  end(): void {
    this.#ended = true
    this.#wakeReader?.()
  }

  /** Fails both sides with this error. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#queue.clear()
    this.#wakeReader?.()
    this.#wakeWriter?.()
  }

  /** A copy of the next `bytes` bytes, which stay in the input. There are fewer if the stream ends. */
  async peek(bytes: number): Promise<Buffer> {
    await this.#has(bytes)
    return this.#queue.peek(Math.min(bytes, this.#queue.length))
  }

  /** A copy of the `bytes` bytes behind the next `from`, which have come, and stay in the input. */
  peekNow(bytes: number, from: number): Buffer {
    return this.#queue.peek(bytes, from)
  }

  /** Fills `target` and returns the number of bytes, which is smaller if the stream ends. */
  async read(target: Buffer): Promise<number> {
    let filled = 0
    while (filled < target.length && (await this.#has(1))) {
      const taken = this.#take(target.length - filled)
      for (const view of taken.buffers) filled += view.copy(target, filled)
      for (const lease of taken.leases) lease.release()
    }
    return filled
  }

  /** Fills `target`. Throws INCOMPLETE if the stream ends before: "the archive ends within `what`". */
  async readWhole(target: Buffer, what: string): Promise<void> {
    if ((await this.read(target)) < target.length) throw this.endsWithin(what)
  }

  /** Takes views of bytes that have come, at most `limit`; null at the end. */
  async take(limit = PIECE): Promise<Taken | null> {
    return (await this.#has(1)) ? this.#take(limit) : null
  }

  /** A view of the next bytes, at most `limit`, which stay in the input; null at the end. */
  async view(limit = PIECE): Promise<Taken | null> {
    return (await this.#has(1)) ? this.#queue.front(limit) : null
  }

  /** Puts the bytes that were read last back. `bytes` is a copy, which must not change any more. */
  giveBack(bytes: Buffer): void {
    this.#furthest = this.furthest
    this.#check.stop()
    this.#queue.unshift(bytes)
  }

  /** Skips this many bytes, or up to the end if there are fewer. */
  async skip(bytes: number): Promise<void> {
    await this.#has(bytes)
    this.#skip(Math.min(bytes, this.#queue.length))
  }

  /** Skips everything up to the end of the stream. */
  async skipAll(): Promise<void> {
    this.#check.stop()
    while (await this.#has(1)) {
      await this.#turns.take()
      this.#skip(this.#queue.length)
    }
  }

  /** Skips everything before byte `from` of the stream, and then everything before the next such frame, or up to the end. */
  async skipTo({ magic, couldBe }: FrameStart, from = 0): Promise<void> {
    const overlap = Math.max(0, ...magic.map(({ length }) => length - 1))
    for (;;) {
      await this.#turns.take()
      this.#throwFailure()
      const left = from - this.position
      const at = left > 0 ? -1 : this.#nextOf(magic)
      if (at >= 0) {
        this.#skip(at)
        if (couldBe(await this.peek(LOOK))) return
        this.#skip(1)
        continue
      }
      const useless = left > 0 ? left : this.#queue.length - overlap
      this.#skip(Math.max(0, Math.min(this.#queue.length, useless)))
      if (await this.#has(this.#queue.length + 1)) continue
      this.#skip(this.#queue.length)
      return
    }
  }

  /** The number of bytes before the first magic number; -1 if there is none. */
  #nextOf(magic: readonly Buffer[]): number {
    const { length } = this.#queue
    for (let from = 0; from < length; from += WINDOW) {
      let first = from + WINDOW
      for (const bytes of magic) {
        const at = this.#queue.indexOf(bytes, from, first + bytes.length - 1)
        if (at >= 0) first = at
      }
      if (first < from + WINDOW) return first
    }
    return -1
  }

  endsWithin(what: string): VmapipeError {
    return new VmapipeError('INCOMPLETE', `the archive ends within ${what}`, { offset: this.position })
  }

  /** Takes at most `limit` of the bytes that have come. */
  #take(limit: number): Taken {
    const taken = this.#queue.take(Math.min(limit, this.#queue.length))
    for (const bytes of taken.buffers) this.#check.add(bytes)
    return taken
  }

  #skip(bytes: number): void {
    for (const view of this.#queue.look(bytes)) this.#check.add(view)
    this.#queue.skip(bytes)
  }

  #throwFailure(): void {
    if (this.#failure === null) return
    this.#queue.clear()
    throw this.#failure.error
  }

  /** Waits until there are this many bytes. Returns false if the stream ends before. */
  async #has(bytes: number): Promise<boolean> {
    while (this.#queue.length < bytes) {
      this.#throwFailure()
      if (this.#ended) return false
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve
        this.#wakeWriter?.()
      })
    }
    return true
  }
}
