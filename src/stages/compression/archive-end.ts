/** Where a compressed archive ends: judged once, for all codecs (behind.ts beside the stages says by which rule). */

import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import { decodeFooter, startsMapOrFooter, TAIL_SIZE } from '../../formats/frame-map/frame-map.ts'
import { isClosing } from '../../formats/vma/closing.ts'
import { EXTENT_HEADER_SIZE } from '../../formats/vma/extent-header.ts'
import { startUuid } from '../../formats/vma/header.ts'
import { hex } from '../behind.ts'
import type { StreamCheck } from './stream-check.ts'

/** Bytes that begin somewhere. */
export interface Start {
  offset: number
  /** START of them, or as many as there are. */
  bytes: Buffer
}

/** So many of them tell what they are. */
export const START = TAIL_SIZE

export class ArchiveEnd {
  readonly #check: StreamCheck
  readonly #head = new Bytes()
  /** The last bytes of the content. */
  #tail: Buffer = Buffer.alloc(0)
  #uuid: Uint8Array | null = null
  #behind: Start | null = null
  #footed = false
  #failure: VmapipeError | null = null

  constructor(check: StreamCheck) {
    this.#check = check
  }

  /** Content, in order. */
  see({ buffers, gap }: Chunk): void {
    for (const bytes of buffers) this.#add(bytes)
    if (gap?.lost) this.#tail = Buffer.alloc(0)
  }

  /** The content begins as that of an archive does. */
  get isArchive(): boolean {
    return this.#uuid !== null
  }

  /** Nothing that comes is the archive's any more. */
  get isOver(): boolean {
    return this.#behind !== null
  }

  /** What is behind the end; valid if it is over. */
  get behind(): Start {
    return this.#behind!
  }

  /**
   * When all content before has come: something begins here that would go on with it. Is it over already? `failure` is why nothing
   * could be made of it.
   */
  judge(start: Start, failure: VmapipeError | null = null): boolean {
    if (this.#behind === null && this.#uuid !== null && isClosing(this.#tail, this.#uuid)) {
      this.#behind = start
      this.#failure = failure
    }
    return this.isOver
  }

  /** A footer that is right ends here; `start` is what follows. */
  foot(start: Start): void {
    this.#footed = true
    if (this.isArchive) this.#behind ??= start
  }

  get isFooted(): boolean {
    return this.#footed
  }

  /** All `total` bytes have been seen. What is wrong if the bytes behind the end are what is left of a map and a footer of ours. */
  damage(total: number): VmapipeError | null {
    const { offset, bytes } = this.behind
    if (this.#footed || !(startsMapOrFooter(bytes) || this.#endsAsOurs(offset, total))) return null
    const message = `the map of the archive's frames, or the footer behind it, is damaged: it begins with ${hex(bytes)}`
    return this.#failure ?? new VmapipeError('DAMAGED', message, { offset })
  }

  /** One that begins where the frames end. */
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

/** The first bytes of what comes. */
class Bytes {
  #first: Buffer = Buffer.alloc(0)

  add(bytes: Uint8Array): Buffer {
    if (this.#first.length < HEAD)
      this.#first = Buffer.concat([this.#first, bytes.subarray(0, HEAD - this.#first.length)])
    return this.#first
  }
}

const HEAD = 24
