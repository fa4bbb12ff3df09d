/** Reads extent after extent from the bytes behind the header. Behind damage it searches for the next extent. */

import type { ByteQueue } from '../../core/byte-queue.ts'
import { BLOCK_SIZE } from '../../core/geometry.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader } from '../../formats/vma/extent.ts'
import { extentWithin, skipToExtent } from './find-extent.ts'
import type { LookAhead } from './look-ahead.ts'

/** An extent whose header is decoded. `offset` is its place in the archive. */
export type Extent = ExtentHeader & { offset: number }

const EMPTY = Buffer.alloc(0)
const MAGIC = Buffer.from('VMAE')

export class ExtentReader {
  readonly #queue: ByteQueue
  readonly #uuid: Buffer
  readonly #ahead: LookAhead
  readonly #onDamage: (error: unknown) => void
  #extent: Extent | null = null
  /** Whether to search for the next extent, because it need not begin at the end of the last one. */
  #searching = false
  /** The end of an extent whose data was wrong. If no extent follows it, the next one may begin within its data. */
  #tail: Buffer = EMPTY

  /** `onDamage` gets an error for each header that is wrong. If it returns, the reader searches for the next extent. */
  constructor(queue: ByteQueue, uuid: Buffer, ahead: LookAhead, onDamage: (error: unknown) => void) {
    this.#queue = queue
    this.#uuid = uuid
    this.#ahead = ahead
    this.#onDamage = onDamage
  }

  /** Whether an extent begins with the next bytes. */
  get isWithin(): boolean {
    return !this.#searching && (this.#extent !== null || this.#queue.length > 0)
  }

  /** The next extent may be anywhere. */
  get isSearching(): boolean {
    return this.#searching
  }

  /** Whether an extent may follow: one has begun, or the next bytes begin as one does, or they are too few to tell. */
  get mayFollow(): boolean {
    return !this.#searching && (this.#extent !== null || this.#queue.length < MAGIC.length || this.mayBegin)
  }

  /** Whether the next bytes, as far as they have come, begin as an extent does. */
  get mayBegin(): boolean {
    const start = this.#queue.peek(Math.min(MAGIC.length, this.#queue.length))
    return this.#extent !== null || start.equals(MAGIC.subarray(0, start.length))
  }

  /** The next extent, whose blocks are in the queue; null if more bytes must come first. */
  next(): Extent | null {
    while (this.#extent === null) {
      if (this.#searching && !skipToExtent(this.#queue, this.#uuid)) return null
      if (this.#queue.length < EXTENT_HEADER_SIZE) return null
      this.#searching = false
      this.#extent = this.#header()
    }
    const extent = this.#extent
    if (this.#queue.length < extent.blocks * BLOCK_SIZE) return null
    this.#extent = null
    return extent
  }

  #header(): Extent | null {
    const offset = this.#queue.position
    try {
      const header =
        this.#ahead.headerAt(offset) ?? decodeExtentHeader(this.#queue.peek(EXTENT_HEADER_SIZE), this.#uuid, offset)
      this.#queue.skip(EXTENT_HEADER_SIZE)
      return { ...header, offset }
    } catch (error) {
      this.#onDamage(error)
      if (this.#tail === EMPTY) this.#queue.skip(1)
      else this.#queue.unshift(this.#tail)
      this.#searching = true
      return null
    } finally {
      this.#tail = EMPTY
    }
  }

  /** Drops the part of an extent that has come. */
  drop(): void {
    this.#tail = EMPTY
    this.#extent = null
    this.#queue.clear()
    this.#searching = true
  }

  /** Whether another extent begins within the data of this one, because bytes are missing. The other one is then the next. */
  isShort({ blocks }: Extent): boolean {
    const bytes = Buffer.concat(this.#queue.look(blocks * BLOCK_SIZE))
    const at = extentWithin(bytes, this.#uuid)
    if (at >= 0) this.#queue.skip(at)
    else this.#tail = Buffer.from(bytes.subarray(1 - EXTENT_HEADER_SIZE))
    return at >= 0
  }
}
