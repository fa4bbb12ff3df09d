/** Reads the hashes of an archive's clusters, without their data (formats/vma/README.md, section 5). */

import { LRUCache } from 'lru-cache'
import { VmapipeError } from '../core/errors.ts'
import { HASH_BYTES } from '../formats/vma/cluster-hash.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE } from '../formats/vma/extent.ts'
import { hasHashes } from '../formats/vma/extent-check.ts'
import { recordsOf } from '../formats/vma/hash-records.ts'
import { HASHES, RECORD_BYTES } from '../formats/vma/records.ts'
import type { StateRange } from './cluster-index.ts'
import type { OpenFile } from './open-file.ts'

/** Records of a group that are read at once (32 KiB). Their bytes are whole hashes: 1624 of them. */
const PAGE_RECORDS = 64
const PAGE_HASHES = (PAGE_RECORDS * RECORD_BYTES) / HASH_BYTES
/** More pages than any group has. */
const GROUP_PAGES = 16
/** Pages that are kept (6.2 MiB). A live backup archives clusters in no order, so several groups are read in turn. */
const KEPT = 256

/**
 * The hashes and states of the clusters of one archive, without its parents:
 *
 *     const hashes = await ArchiveHashes.of(file)   // null if the archive has no hashes
 *     for (const { first, count, state } of hashes.states(1, 0, 1000)) ...
 *     const bytes = await hashes.read(1, 0, 1000)    // 16 bytes for each cluster
 *
 * A drive is named by its dev_id in this archive. Reading in the order of clusters reads each group of hash records once, a little in
 * advance. Memory is flat: about 7 MiB besides the archive's index. The archive must stay open. Errors: DAMAGED.
 */
export class ArchiveHashes {
  readonly #file: OpenFile
  readonly #pages = new LRUCache<number, Promise<Uint8Array>>({ max: KEPT })
  /** The page that was read last. */
  #last = -1

  private constructor(file: OpenFile) {
    this.#file = file
  }

  /** The hashes of this archive; null if it has none. */
  static async of(file: OpenFile): Promise<ArchiveHashes | null> {
    const { index, headers } = file.parts
    if (!index.hasHashes) return null
    // Only archives whose checksums are made of hashes have hash records that a reader checks.
    if (index.extents > 0 && !hasHashes(await headers.get(0))) return null
    return new ArchiveHashes(file)
  }

  /**
   * The states of these clusters, in order, as few ranges as possible: `stored`, `zero`, or `absent` if the archive does not have the
   * cluster, which in an incremental archive means that it is unchanged since the parent. No data is read for it.
   */
  states(drive: number, first: number, count: number): Generator<StateRange> {
    return this.#file.parts.index.states(drive, first, first + count)
  }

  /** The hashes of these clusters, 16 bytes for each; zero bytes for a cluster that is not stored. */
  async read(drive: number, first: number, count: number): Promise<Uint8Array> {
    const all = new Uint8Array(count * HASH_BYTES)
    for (const { first: cluster, end, group, number } of this.#file.parts.index.hashes(drive, first, first + count)) {
      for (let done = 0; done < end - cluster; ) {
        const at = number + done
        const from = (at % PAGE_HASHES) * HASH_BYTES
        const page = await this.#page(group, Math.floor(at / PAGE_HASHES))
        const part = page.subarray(from, from + (end - cluster - done) * HASH_BYTES)
        all.set(part, (cluster - first + done) * HASH_BYTES)
        done += part.byteLength / HASH_BYTES
      }
    }
    return all
  }

  /** The hashes of a page of a group. */
  async #page(group: number, page: number): Promise<Uint8Array> {
    const key = group * GROUP_PAGES + page
    const loading = this.#begin(group, page)!
    if (key === this.#last + 1) this.#begin(group, page + 1)
    this.#last = key
    return loading
  }

  /** Begins to load a page. Undefined if the group does not have it. */
  #begin(group: number, page: number): Promise<Uint8Array> | undefined {
    const hashes = this.#file.parts.index.hashesIn(group) - page * PAGE_HASHES
    const key = group * GROUP_PAGES + page
    if (hashes <= 0 || this.#pages.has(key)) return this.#pages.get(key)
    const loading = this.#load(group, page, Math.min(PAGE_HASHES, hashes))
    this.#pages.set(key, loading)
    // A page that was loaded in advance may fail while nobody waits. It is loaded again for a reader that wants it.
    loading.catch(() => this.#pages.delete(key))
    return loading
  }

  async #load(group: number, page: number, hashes: number): Promise<Uint8Array> {
    const { bytes, manifest, parts } = this.#file
    const first = page * PAGE_RECORDS
    const records = recordsOf(hashes)
    const begin = parts.index.offsets[group] + first * EXTENT_HEADER_SIZE
    const read = Buffer.allocUnsafe(records * EXTENT_HEADER_SIZE)
    await bytes.read(read, begin)
    const content = new Uint8Array(records * RECORD_BYTES)
    for (let at = 0; at < records; at++) {
      const offset = begin + at * EXTENT_HEADER_SIZE
      const header = read.subarray(at * EXTENT_HEADER_SIZE, (at + 1) * EXTENT_HEADER_SIZE)
      const { record } = decodeExtentHeader(header, manifest.uuid, offset)
      if (record?.kind !== HASHES || record.number !== first + at)
        throw new VmapipeError('DAMAGED', `hash record ${first + at} is missing`, { offset })
      content.set(record.bytes, at * RECORD_BYTES)
    }
    return content.subarray(0, hashes * HASH_BYTES)
  }
}
