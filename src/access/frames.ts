/** A compressed archive whose frames are known: each is read and decoded when it is wanted, several at once, and kept. */

import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import { roomFor } from '../stages/compression/decoder.ts'
import { checkBounds } from '../storage/bounds.ts'
import type { ArchiveBytes, StreamRange } from './archive-bytes.ts'
import { declaredContent } from './declared-content.ts'
import { decodeFrame } from './frame-codecs.ts'
import type { FrameTable } from './frame-table.ts'
import { type Load, PieceCache, type View } from './piece-cache.ts'

/** Frames that must fit into the memory for content. */
const LEAST_FRAMES = 3

/** How many frames may be decoded at once; 0 where there is no memory for them. */
export function atOnceIn(table: FrameTable, budget: Budget, threads: number): number {
  const { bytes, contentBytes } = table.largest
  const atOnce = Math.max(1, Math.min(threads + 2, Math.floor(budget.capacity / 3 / Math.max(1, bytes))))
  return bytes * atOnce + LEAST_FRAMES * contentBytes <= budget.capacity ? atOnce : 0
}

export class Frames implements ArchiveBytes {
  readonly size: number
  readonly #file: ArchiveBytes
  readonly #table: FrameTable
  readonly #inputs: Budget
  readonly #inputSize: number
  readonly #contentSize: number
  readonly #cache: PieceCache
  /** The content that is asked for ahead at most. */
  readonly #window: number
  /** 1 for those that hold as much as the map says. */
  readonly #agreed: Uint8Array

  /** Takes all of the budget. Throws USAGE where it is too small for frames so large. */
  constructor(file: ArchiveBytes, table: FrameTable, budget: Budget, threads: number) {
    const { bytes, contentBytes } = table.largest
    const atOnce = atOnceIn(table, budget, threads)
    if (atOnce === 0)
      throw new VmapipeError('USAGE', `frames of ${formatBytes(contentBytes)} do not fit into memory`, {
        hint: `allow a --buffer of ${formatBytes(bytes * 3 + LEAST_FRAMES * contentBytes)}`,
      })
    this.#file = file
    this.#table = table
    this.size = table.contentBytes
    this.#inputSize = bytes
    this.#contentSize = contentBytes
    this.#inputs = budget.carve(bytes * atOnce, 'reading compressed frames')
    this.#cache = new PieceCache(budget.carve(budget.capacity, 'the content of frames'), atOnce)
    this.#window = this.#cache.capacity / 2
    this.#agreed = new Uint8Array(table.frames)
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    for (let filled = 0; filled < buffer.byteLength; ) {
      const { bytes, lease } = await this.view(offset + filled, buffer.byteLength - filled)
      buffer.set(bytes, filled)
      lease.release()
      filled += bytes.length
    }
  }

  /** At most `length` bytes from `offset`: as many as are in one frame. */
  async view(offset: number, length: number): Promise<View> {
    checkBounds(this.size, offset, length)
    const frame = this.#table.frameAt(offset)
    const { bytes, lease } = await this.#cache.get(frame, this.#load(frame))
    const from = offset - this.#table.contents[frame]
    return { bytes: bytes.subarray(from, from + length), lease }
  }

  /**
   * Makes sure that from byte `from` of the stream to byte `to` it is as far as the map says: that the frames between hold what it
   * says. Throws DAMAGED where they do not; undefined where that is known.
   */
  agree(from: number, to: number): Promise<void> | undefined {
    const last = this.#table.frameAt(to)
    for (let frame = this.#table.frameAt(from); frame < last; frame++)
      if (this.#agreed[frame] === 0) return this.#compare(frame, last)
    return undefined
  }

  /** These ranges of the stream are wanted soon. */
  ahead(ranges: readonly StreamRange[]): void {
    const frames = new Set<number>()
    let content = 0
    for (const { offset, length } of ranges) {
      for (let at = offset; at < Math.min(offset + length, this.size) && content < this.#window; ) {
        const frame = this.#table.frameAt(at)
        at = this.#table.contents[frame + 1]
        if (frames.has(frame)) continue
        content += at - this.#table.contents[frame]
        if (content <= this.#window) frames.add(frame)
      }
    }
    this.#cache.ahead(Array.from(frames, (key) => ({ key, load: this.#load(key) })))
  }

  async close(): Promise<void> {
    await this.#cache.close()
    await this.#file.close()
  }

  async #compare(first: number, last: number): Promise<void> {
    const { starts, contents } = this.#table
    for (let frame = first; frame < last; frame++) {
      if (this.#agreed[frame] === 1) continue
      const contentBytes = contents[frame + 1] - contents[frame]
      const declared = await declaredContent(this.#file, starts[frame], starts[frame + 1] - starts[frame])
      if (declared === undefined) (await this.#cache.get(frame, this.#load(frame))).lease.release()
      else if (declared !== contentBytes) throw liesAbout(starts[frame], declared, contentBytes)
      this.#agreed[frame] = 1
    }
  }

  #load(frame: number): Load {
    return async () => {
      const { starts, contents } = this.#table
      const [offset, contentBytes] = [starts[frame], contents[frame + 1] - contents[frame]]
      const input = await this.#inputs.take(this.#inputSize)
      try {
        const bytes = input.buffer.subarray(0, starts[frame + 1] - offset)
        await this.#file.read(bytes, offset)
        const view = await this.#decode(bytes, contentBytes, offset)
        this.#agreed[frame] = 1
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

function liesAbout(offset: number, declared: number, mapped: number): VmapipeError {
  const message = `a frame of ${declared} bytes begins here, the map of the archive's frames says ${mapped}`
  return new VmapipeError('DAMAGED', message, { offset })
}
