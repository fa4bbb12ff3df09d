/**
 * Reads extents of an archive that is not compressed. An extent with a checksum is read as a whole at first use, checked and
 * kept in the cache. Data of an extent that was checked before but is no longer in the cache is read directly.
 */

import { VmapipeError } from '../core/errors.ts'
import { clusterHasher } from '../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, type ExtentHeader, MAX_EXTENT_SIZE } from '../formats/vma/extent.ts'
import { checkExtent, isCheckable } from '../formats/vma/extent-check.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { ExtentData } from './extent-data.ts'
import type { ExtentHeaders } from './extent-headers.ts'
import type { Load, PieceCache, View } from './piece-cache.ts'
import type { ReadingMemory } from './reading-memory.ts'

/** The most extents that are loaded in advance. */
const WINDOW = 4

export class PlainExtents implements ExtentData {
  readonly window: number
  readonly #bytes: ArchiveBytes
  readonly #index: ClusterIndex
  readonly #headers: ExtentHeaders
  readonly #cache: PieceCache
  /** The key of the first extent in the cache. */
  readonly #first: number
  readonly #end: () => Promise<void>
  /** 1 for extents whose data was checked and is right. */
  readonly #checked: Uint8Array

  constructor(bytes: ArchiveBytes, index: ClusterIndex, headers: ExtentHeaders, memory: ReadingMemory) {
    this.#bytes = bytes
    this.#index = index
    this.#headers = headers
    this.#cache = memory.cache
    this.#first = memory.first
    this.#end = memory.close
    this.#checked = new Uint8Array(index.extents)
    this.window = Math.min(WINDOW, Math.floor(memory.window / MAX_EXTENT_SIZE))
  }

  async view(extent: number, header: ExtentHeader, at: number, length: number): Promise<View> {
    const mustCheck = isCheckable(header) && this.#checked[extent] === 0
    const key = this.#first + extent
    const whole = mustCheck ? await this.#cache.get(key, this.#load(extent)) : this.#cache.peek(key)
    if (whole === null) return this.#direct(extent, at, length)
    const from = at - EXTENT_HEADER_SIZE
    return { bytes: whole.bytes.subarray(from, from + length), lease: whole.lease }
  }

  ahead(extents: readonly number[]): void {
    const pieces = extents.map((extent) => ({ key: this.#first + extent, load: this.#load(extent) }))
    this.#cache.ahead(pieces, this.#first)
  }

  /** An extent is read and checked as a whole. */
  isDecodedWith(extent: number, other: number): boolean {
    return extent === other
  }

  async close(): Promise<void> {
    await this.#end()
    await this.#bytes.close()
  }

  async #direct(extent: number, at: number, length: number): Promise<View> {
    const slab = await this.#cache.room(length, (memory) => memory.take(length))
    try {
      await this.#bytes.read(slab.buffer, this.#index.offsets[extent] + at)
      return { bytes: slab.buffer, lease: slab }
    } catch (error) {
      slab.release()
      throw error
    }
  }

  /** Loads all data of the extent. */
  #load(extent: number): Load {
    return async () => {
      const { offsets } = this.#index
      const header = await this.#headers.get(extent)
      const length = offsets[extent + 1] - offsets[extent] - EXTENT_HEADER_SIZE
      const hasher = await clusterHasher()
      const view = await this.#direct(extent, EXTENT_HEADER_SIZE, length)
      if (isCheckable(header) && !checkExtent(header, [view.bytes], hasher)) {
        view.lease.release()
        const offset = offsets[extent]
        throw new VmapipeError('DAMAGED', 'the checksum of the data of this extent is wrong', { offset })
      }
      this.#checked[extent] = 1
      return view
    }
  }
}
