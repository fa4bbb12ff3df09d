/** Reads a compressed archive whose frames are known. Frames are decoded when they are wanted, several at once, and kept in a cache. */

import { roomFor } from '../codecs/content-memory.ts'
import { declaredContent, decodeFrame } from '../codecs/whole-frame.ts'
import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { Turns } from '../core/turns.ts'
import type { ArchiveBytes, StreamRange } from '../storage/archive/archive-bytes.ts'
import { checkBounds } from '../storage/drive.ts'
import type { FrameTable, Place } from './frame-table.ts'
import type { Load, PieceCache, View } from './piece-cache.ts'
import type { ReadingMemory } from './reading-memory.ts'

export class FramedStream implements ArchiveBytes {
  readonly size: number
  readonly #file: ArchiveBytes
  readonly #table: FrameTable
  readonly #inputs: Budget
  readonly #inputRoom: (bytes: number) => number
  readonly #contentSize: number
  readonly #cache: PieceCache
  /** The key of the first frame in the cache. */
  readonly #first: number
  /** The most bytes of content that are loaded in advance. */
  readonly #window: number
  readonly #end: () => Promise<void>

  constructor(
    file: ArchiveBytes,
    table: FrameTable,
    { inputs, inputRoom, cache, first, window, close }: ReadingMemory,
  ) {
    this.#file = file
    this.#table = table
    this.size = table.contentBytes
    this.#inputRoom = inputRoom
    this.#contentSize = table.largest.contentBytes
    this.#inputs = inputs
    this.#cache = cache
    this.#first = first
    this.#window = window
    this.#end = close
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    for (let filled = 0; filled < buffer.byteLength; ) {
      const { bytes, lease } = await this.view(offset + filled, buffer.byteLength - filled)
      buffer.set(bytes, filled)
      lease.release()
      filled += bytes.length
    }
  }

  /** The bytes from `offset` that are in one frame, at most `length`. */
  async view(offset: number, length: number): Promise<View> {
    checkBounds(this.size, offset, length)
    const place = this.#table.peek(offset) ?? (await this.#table.at(offset))
    const { bytes, lease } = await this.#cache.get(this.#first + place.frame, this.#load(place))
    const from = offset - place.content
    return { bytes: bytes.subarray(from, from + length), lease }
  }

  /**
   * Checks that the map is right about all frames between bytes `from` and `to` of the stream: that their content is as long as it
   * says. Throws DAMAGED if it is not.
   */
  async agree(from: number, to: number): Promise<void> {
    const turns = new Turns()
    for await (const place of this.#table.doubtful(from, to)) {
      await turns.take()
      await this.#compare(place)
    }
  }

  /** Loads these ranges of the stream in advance. */
  ahead(ranges: readonly StreamRange[]): void {
    const frames = new Map<number, Place>()
    let content = 0
    for (const { offset, length } of ranges) {
      for (let at = offset; at < Math.min(offset + length, this.size) && content < this.#window; ) {
        const place = this.#table.peek(at)
        if (place === null) break
        at = place.content + place.contentBytes
        if (frames.has(place.frame)) continue
        content += place.contentBytes
        if (content <= this.#window) frames.set(place.frame, place)
      }
    }
    const pieces = Array.from(frames, ([frame, place]) => ({ key: this.#first + frame, load: this.#load(place) }))
    this.#cache.ahead(pieces, this.#first)
  }

  /** Whether these two bytes are in one frame, as far as that is known without reading. */
  isOneFrame(offset: number, other: number): boolean {
    const place = this.#table.peek(offset)
    return place !== null && other >= place.content && other < place.content + place.contentBytes
  }

  async close(): Promise<void> {
    await this.#end()
    await this.#file.close()
  }

  async #compare(place: Place): Promise<void> {
    const { frame, start, bytes, contentBytes } = place
    const declared = await declaredContent(this.#file, start, bytes)
    if (declared === undefined) (await this.#cache.get(this.#first + frame, this.#load(place))).lease.release()
    else if (declared !== contentBytes) throw contradicts(start, declared, contentBytes)
    this.#table.agree(place)
  }

  #load(place: Place): Load {
    return async () => {
      const { start, bytes: length, contentBytes } = place
      const input = await this.#inputs.take(this.#inputRoom(length))
      try {
        const bytes = input.buffer.subarray(0, length)
        await this.#file.read(bytes, start)
        const view = await this.#decode(bytes, contentBytes, start)
        this.#table.agree(place)
        return view
      } finally {
        input.release()
      }
    }
  }

  async #decode(bytes: Buffer, contentBytes: number, offset: number): Promise<View> {
    const room = roomFor(contentBytes, this.#contentSize)
    const lease = await this.#cache.room(room, (memory) => memory.take(room))
    try {
      const content = lease.buffer.subarray(0, contentBytes)
      await decodeFrame(bytes, content, offset)
      return { bytes: content, lease }
    } catch (error) {
      lease.release()
      throw error
    }
  }
}

function contradicts(offset: number, declared: number, mapped: number): VmapipeError {
  const message = `a frame of ${declared} bytes begins here, the map of the archive's frames says ${mapped}`
  return new VmapipeError('DAMAGED', message, { offset })
}
