/** Makes the trailer of an archive: the table in pages, and the closing extent (README.md beside this file, section 2). */

import { crc32 } from 'node:zlib'
import type { Manifest } from '../../core/items.ts'
import { encodeClosing } from './closing.ts'
import { EXTENT_HEADER_SIZE } from './extent-header.ts'
import { encodeRecord, PAGE, RECORD_BYTES } from './records.ts'
import { TableEncoder } from './table.ts'

/** Pages that are made at once: 1 MiB. */
const PAGES_AT_ONCE = 2048

export class TrailerWriter {
  readonly #uuid: Uint8Array
  readonly #table: TableEncoder
  readonly #hasIndex: boolean
  readonly #hasHashes: boolean
  #extents = 0
  #bytes: number

  /** `headerSize` is the number of bytes before the archive's first extent. */
  constructor({ uuid, drives }: Manifest, headerSize: number, { index, hashes }: { index: boolean; hashes: boolean }) {
    this.#uuid = uuid
    this.#table = new TableEncoder(drives.map(({ id }) => id))
    this.#hasIndex = index
    this.#hasHashes = hashes
    this.#bytes = headerSize
  }

  /** Adds a slot of the current extent. */
  add(drive: number, cluster: number, mask: number): void {
    this.#table.add(drive, cluster, mask)
  }

  /** Adds slots of clusters without data. */
  addZeroes(drive: number, first: number, count: number): void {
    this.#table.addZeroes(drive, first, count)
  }

  /** Ends the current extent of `bytes` bytes, including its header. */
  endExtent(bytes: number): void {
    this.#table.endExtent()
    if (!this.#hasIndex) this.#table.entries.clear()
    this.#extents++
    this.#bytes += bytes
  }

  /** Adds this number of hash records. */
  addRecords(count: number): void {
    for (let left = count; left > 0; left--) this.endExtent(EXTENT_HEADER_SIZE)
  }

  /** The record extents of the table and the closing extent, in buffers of at most 1 MiB. */
  *finish(): Generator<Buffer> {
    const table = this.#table.finish()
    const pages = Math.ceil(table.length / RECORD_BYTES)
    for (let first = 0; first < pages; first += PAGES_AT_ONCE) {
      const count = Math.min(PAGES_AT_ONCE, pages - first)
      const records = Buffer.allocUnsafe(count * EXTENT_HEADER_SIZE)
      for (let number = first; number < first + count; number++) {
        const bytes = table.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES)
        records.set(encodeRecord(this.#uuid, { kind: PAGE, number, bytes }), (number - first) * EXTENT_HEADER_SIZE)
      }
      yield records
    }
    yield encodeClosing(this.#uuid, {
      hasIndex: this.#hasIndex,
      hasHashes: this.#hasHashes,
      pages,
      tableBytes: table.length,
      tableChecksum: crc32(table),
      extents: this.#extents,
      bytes: this.#bytes,
    })
  }
}
