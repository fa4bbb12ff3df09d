/**
 * Runs a parser over the bytes of a socket. A parser is a generator that yields what it needs next, and gets it when it has come: a
 * number of bytes, or a buffer to fill. So a protocol is written as straight code that knows nothing of sockets. Payload is still
 * not copied: while a buffer is being filled, `target()` is a part of it, and the kernel writes there.
 */

/**
 * What a parser needs next. A number of bytes, at most MAX_NEED, which it gets as a view that is valid until its next need. Or a
 * buffer to fill, which is not empty. Or null for no bytes until `wake()`; the socket should not be read meanwhile.
 */
type Need = number | Uint8Array | null
export type Parser<Result = void> = Generator<Need, Result, Buffer>

export const MAX_NEED = 16 * 1024

/** Bytes for small messages, many at once (64 KiB). */
const SCRATCH_BYTES = 64 * 1024

/** A buffer of 16 KiB or more is read by a system call of its own. Before it little is read ahead, as that must be copied. */
const LARGE_BYTES = 16 * 1024
const SHORT_REACH = 2048

const EMPTY = Buffer.alloc(0)

export class Feeder {
  readonly #parser: Parser<unknown>
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  #start = 0
  #end = 0
  #need: Need = 0
  /** Bytes to read at once if it is not known what comes: few after large buffers, then more and more. */
  #reach = SCRATCH_BYTES
  /** Whether the last target was a part of the buffer to fill, not of the scratch. */
  #direct = false
  /** The bytes of the buffer to fill that have come. */
  #filled = 0
  /** The size of the last target. */
  #offered = 0

  constructor(parser: Parser<unknown>) {
    this.#parser = parser
    this.#advance(EMPTY)
  }

  /** Whether the parser waits for `wake()`. */
  get isWaiting(): boolean {
    return this.#need === null
  }

  /** Whether a message is incomplete: a part of it has come, or the parser needs a buffer filled. */
  get isMidway(): boolean {
    return this.#need !== null && (typeof this.#need === 'number' ? this.#end > this.#start : true)
  }

  /** Ends the parser where it is, as no more bytes will come. Its `finally` blocks run. */
  end(): void {
    this.#parser.return(undefined)
    this.#need = SCRATCH_BYTES
    this.#start = this.#end = 0
  }

  /** The memory for the next bytes, never empty. It stays the same until `received`. */
  target(): Uint8Array {
    const need = this.#need
    this.#direct = need !== null && typeof need !== 'number'
    if (need !== null && typeof need !== 'number') {
      if (need.byteLength >= LARGE_BYTES) this.#reach = SHORT_REACH
      this.#offered = need.byteLength - this.#filled
      return need.subarray(this.#filled)
    }
    if (this.#start > 0) {
      this.#scratch.copyWithin(0, this.#start, this.#end)
      this.#end -= this.#start
      this.#start = 0
    }
    this.#offered = Math.min(this.#reach, SCRATCH_BYTES - this.#end)
    return this.#scratch.subarray(this.#end, this.#end + this.#reach)
  }

  /**
   * Notes that `count` bytes are in the memory of `target()`. Throws what the parser throws. Returns whether there was space for
   * more bytes, which means that the socket is empty.
   */
  received(count: number): boolean {
    const hadRoom = count < this.#offered
    if (this.#direct) this.#filled += count
    else {
      this.#end += count
      if (count >= this.#reach) this.#reach = Math.min(4 * this.#reach, SCRATCH_BYTES)
    }
    while (this.#satisfy()) {
      // One need after the other.
    }
    return hadRoom
  }

  /** Continues a parser that waits, with what has come meanwhile. Throws what the parser throws. */
  wake(): void {
    if (this.#need !== null) return
    this.#advance(EMPTY)
    while (this.#satisfy()) {
      // As above.
    }
  }

  /** Gives the parser what it needs, if that has come. */
  #satisfy(): boolean {
    const need = this.#need
    if (need === null) return false
    const available = this.#end - this.#start
    if (typeof need === 'number') {
      if (available < need) return false
      const view = this.#scratch.subarray(this.#start, this.#start + need)
      this.#start += need
      this.#advance(view)
      return true
    }
    const count = Math.min(available, need.byteLength - this.#filled)
    need.set(this.#scratch.subarray(this.#start, this.#start + count), this.#filled)
    this.#start += count
    this.#filled += count
    if (this.#filled < need.byteLength) return false
    this.#advance(EMPTY)
    return true
  }

  #advance(bytes: Buffer): void {
    // A parser that runs does not wait.
    this.#need = 0
    const { done, value } = this.#parser.next(bytes)
    // Once the parser has ended, all that still comes is thrown away.
    this.#need = done ? SCRATCH_BYTES : (value as Need)
    this.#filled = 0
    if (done) this.#start = this.#end = 0
  }
}
