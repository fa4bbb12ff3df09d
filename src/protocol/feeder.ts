/**
 * Runs a parser over the bytes of a socket. A parser is a generator that yields what it needs next and gets it when it
 * has arrived: a number of bytes to look at, or a buffer to be filled. So a protocol reads like straight code, knows
 * nothing of sockets, and still takes payload directly to where it belongs: while a buffer is being filled,
 * `target()` is a part of it, and the kernel writes there.
 */

/**
 * So many bytes, at most MAX_NEED, as a view that is valid until the next need; or this buffer filled, not empty; or
 * null for no bytes at all until `wake()`, while the socket should better not be read.
 */
type Need = number | Uint8Array | null
export type Parser<Result = void> = Generator<Need, Result, Buffer>

export const MAX_NEED = 16 * 1024

/** Large enough for many small messages at once. */
const SCRATCH_BYTES = 64 * 1024

/** A buffer from here on is worth a system call of its own; of what is read before it little should have to be copied. */
const LARGE_BYTES = 16 * 1024
const SHORT_REACH = 2048

const EMPTY = Buffer.alloc(0)

export class Feeder {
  readonly #parser: Parser<unknown>
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  #start = 0
  #end = 0
  #need: Need = 0
  /** How much is read at once when it is not known what comes: little after large buffers, more as more comes. */
  #reach = SCRATCH_BYTES
  /** The last target was a part of the buffer being filled, not of the scratch. */
  #direct = false
  /** Bytes of the buffer being filled that have arrived. */
  #filled = 0
  /** Bytes of the last target. */
  #offered = 0

  constructor(parser: Parser<unknown>) {
    this.#parser = parser
    this.#advance(EMPTY)
  }

  /** The parser waits for `wake()`. */
  get isWaiting(): boolean {
    return this.#need === null
  }

  /** A part of what the parser needs has come, or it needs bytes that were announced: something is not complete. */
  get isMidway(): boolean {
    return this.#need !== null && (typeof this.#need === 'number' ? this.#end > this.#start : true)
  }

  /** No more bytes will come: the parser ends where it is, and gives back what it has. */
  end(): void {
    this.#parser.return(undefined)
    this.#need = SCRATCH_BYTES
    this.#start = this.#end = 0
  }

  /** Where the next bytes are to be put; never empty. It holds until `received`, whatever happens in between. */
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
   * `count` bytes have been put where `target()` said. Throws what the parser throws. The result is whether there was room
   * for more: then nothing was left in the socket.
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

  /** Lets a parser that waits go on, with what has come meanwhile. Throws what the parser throws. */
  wake(): void {
    if (this.#need !== null) return
    this.#advance(EMPTY)
    while (this.#satisfy()) {
      // As above.
    }
  }

  /** Gives the parser what it needs, if that is there. */
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
    // While the parser runs it does not wait.
    this.#need = 0
    const { done, value } = this.#parser.next(bytes)
    // A parser that has ended wants nothing: what still comes is thrown away.
    this.#need = done ? SCRATCH_BYTES : (value as Need)
    this.#filled = 0
    if (done) this.#start = this.#end = 0
  }
}
