/** Decides where a compressed archive ends, for all codecs. The rule is in core/behind.ts. */

import { hex } from '../core/behind.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Chunk } from '../core/items.ts'
import { decodeFooter, startsMapOrFooter, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import { isClosing } from '../formats/vma/closing.ts'
import { EXTENT_HEADER_SIZE } from '../formats/vma/extent-header.ts'
import { startUuid } from '../formats/vma/header.ts'
import type { StreamChecksum } from './stream-checksum.ts'

/** The first bytes at a place in the stream. */
export interface Start {
  offset: number
  /** START bytes, or fewer at the end. */
  bytes: Buffer
}

/** The number of bytes that are needed to recognise what begins. */
export const START = TAIL_SIZE

export class ArchiveEnd {
  readonly #check: StreamChecksum
  readonly #head = new Bytes()
  /** The last bytes of the content. */
  #tail: Buffer = Buffer.alloc(0)
  #uuid: Uint8Array | null = null
  #behind: Start | null = null
  #footed = false
  #failure: VmapipeError | null = null

  constructor(check: StreamChecksum) {
    this.#check = check
  }

  /** Call for all content, in order. */
  see({ buffers, gap }: Chunk): void {
    for (const bytes of buffers) this.#add(bytes)
    if (gap?.lost) this.#tail = Buffer.alloc(0)
  }

  /** Whether the content begins as an archive does. */
  get isArchive(): boolean {
    return this.#uuid !== null
  }

  /** Whether the archive has ended: further bytes do not belong to it. */
  get isOver(): boolean {
    return this.#behind !== null
  }

  /** The first bytes behind the end. Only valid if the archive is over. */
  get behind(): Start {
    return this.#behind!
  }

  /**
   * Decides whether the archive was over before `start`. Call it when all content before has come. `failure` is the error of decoding
   * what begins at `start`, if there was one.
   */
  judge(start: Start, failure: VmapipeError | null = null): boolean {
    if (this.#behind === null && this.#uuid !== null && isClosing(this.#tail, this.#uuid)) {
      this.#behind = start
      this.#failure = failure
    }
    return this.isOver
  }

  /** Call behind a footer that is right. `start` is what follows it. */
  foot(start: Start): void {
    this.#footed = true
    if (this.isArchive) this.#behind ??= start
  }

  get isFooted(): boolean {
    return this.#footed
  }

  /** Call when all `total` bytes have been seen. Returns an error if the bytes behind the end are a damaged map or footer. */
  damage(total: number): VmapipeError | null {
    const { offset, bytes } = this.behind
    if (this.#footed || !(startsMapOrFooter(bytes) || this.#endsAsOurs(offset, total))) return null
    const message = `the map of the archive's frames, or the footer behind it, is damaged: it begins with ${hex(bytes)}`
    return this.#failure ?? new VmapipeError('DAMAGED', message, { offset })
  }

  /** Whether the input ends with a footer whose frames end at or before `offset`, or with a damaged one. */
  #endsAsOurs(offset: number, total: number): boolean {
    try {
      const footer = decodeFooter(this.#check.tail)
      if (footer === null) return false
      const { frameBytes, wrappedBytes, length } = footer
      return frameBytes <= offset && frameBytes + wrappedBytes + length === total
    } catch {
      return offset >= total - TAIL_SIZE
    }
  }

  #add(bytes: Uint8Array): void {
    this.#uuid ??= startUuid(this.#head.add(bytes))
    const last = bytes.subarray(-EXTENT_HEADER_SIZE)
    const kept = this.#tail.subarray(Math.max(0, this.#tail.length + last.length - EXTENT_HEADER_SIZE))
    this.#tail = Buffer.concat([kept, last])
  }
}

/** Keeps the first bytes of the content. */
class Bytes {
  #first: Buffer = Buffer.alloc(0)

  add(bytes: Uint8Array): Buffer {
    if (this.#first.length < HEAD)
      this.#first = Buffer.concat([this.#first, bytes.subarray(0, HEAD - this.#first.length)])
    return this.#first
  }
}

const HEAD = 24
