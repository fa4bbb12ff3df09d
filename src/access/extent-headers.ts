/** Reads extent headers and checks each against the index once. An extent is used only if its clusters are exactly those in the index. */

import { LRUCache } from 'lru-cache'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader } from '../formats/vma/extent.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import type { ClusterIndex } from './cluster-index.ts'

/** The number of decoded headers that are kept, about 4 KiB each, and of headers as bytes, 512 bytes each. */
const KEPT = 1024
const KEPT_RAW = 16384
/** The number of headers that are read at once if there is no data between them. */
const AT_ONCE = 128

export class ExtentHeaders {
  readonly #bytes: ArchiveBytes
  readonly #index: ClusterIndex
  readonly #uuid: Uint8Array
  readonly #drives: ReadonlySet<number>
  /** 1 for extents that agree with the index. */
  readonly #checked: Uint8Array
  readonly #kept: LRUCache<number, Promise<ExtentHeader>>
  readonly #raw: LRUCache<number, Buffer>
  readonly #checking = new Map<number, Promise<void>>()

  constructor(bytes: ArchiveBytes, index: ClusterIndex, { uuid, drives }: Manifest) {
    this.#bytes = bytes
    this.#index = index
    this.#uuid = uuid
    this.#drives = new Set(drives.map(({ id }) => id))
    this.#checked = new Uint8Array(index.extents)
    // A cache takes the memory of all that it may keep at once: most archives are small.
    const most = Math.max(1, index.extents)
    this.#kept = new LRUCache({ max: Math.min(KEPT, most) })
    this.#raw = new LRUCache({ max: Math.min(KEPT_RAW, most) })
  }

  /** Reads a header. Throws DAMAGED if it is damaged or does not agree with the index. */
  get(extent: number): Promise<ExtentHeader> {
    const kept = this.#kept.get(extent)
    if (kept !== undefined) return kept
    const header = this.#load(extent)
    this.#kept.set(extent, header)
    return header
  }

  /** Checks a header without returning it; undefined if it was checked before. */
  check(extent: number): Promise<void> | undefined {
    if (this.#checked[extent] === 1) return undefined
    const group = this.#groupFrom(extent)
    if (group === 1) return this.get(extent).then(() => {})
    const checking =
      this.#checking.get(extent) ?? this.#checkGroup(extent, group).finally(() => this.#checking.delete(extent))
    this.#checking.set(extent, checking)
    return checking
  }

  async #load(extent: number): Promise<ExtentHeader> {
    try {
      const raw = this.#raw.get(extent)
      if (raw !== undefined) return this.#decode(raw, extent)
      const header = Buffer.allocUnsafeSlow(EXTENT_HEADER_SIZE)
      await this.#bytes.read(header, this.#index.offsets[extent])
      const decoded = this.#decode(header, extent)
      this.#raw.set(extent, header)
      return decoded
    } catch (error) {
      this.#kept.delete(extent)
      throw error
    }
  }

  /** The number of extents from this one on that follow each other without data; at least 1. */
  #groupFrom(extent: number): number {
    const { offsets, extents } = this.#index
    const most = Math.min(AT_ONCE, extents - extent)
    let count = 1
    while (count < most && offsets[extent + count] - offsets[extent] === count * EXTENT_HEADER_SIZE) count++
    return count
  }

  /** Checks several headers. It throws only for the first; errors of the others are thrown when they are wanted themselves. */
  async #checkGroup(extent: number, count: number): Promise<void> {
    const headers = Buffer.allocUnsafe(count * EXTENT_HEADER_SIZE)
    await this.#bytes.read(headers, this.#index.offsets[extent])
    const header = (at: number) => headers.subarray(at * EXTENT_HEADER_SIZE, (at + 1) * EXTENT_HEADER_SIZE)
    this.#decode(header(0), extent)
    for (let at = 1; at < count; at++) {
      try {
        this.#decode(header(at), extent + at)
      } catch {}
    }
  }

  #decode(bytes: Buffer, extent: number): ExtentHeader {
    const offset = this.#index.offsets[extent]
    const header = decodeExtentHeader(bytes, this.#uuid, offset)
    if (this.#checked[extent] === 0 && !this.#agrees(header, extent))
      throw new VmapipeError('DAMAGED', 'the extent and the index of the archive contradict each other', { offset })
    this.#checked[extent] = 1
    return header
  }

  #agrees({ slots, blocks }: ExtentHeader, extent: number): boolean {
    const { offsets, counts } = this.#index
    if (offsets[extent + 1] - offsets[extent] !== EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE) return false
    const known = slots.filter(({ drive }) => this.#drives.has(drive))
    const different = new Set(known.map(({ drive, cluster }) => cluster * 256 + drive))
    if (known.length !== slots.length || different.size !== counts[extent]) return false
    return known.every(({ drive, cluster, mask }) => this.#index.agrees(drive, cluster, extent, mask !== 0))
  }
}
