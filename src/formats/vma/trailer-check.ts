/** Checks the trailer of an archive against the extents before it (README.md beside this file, section 2). */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import type { Manifest } from '../../core/items.ts'
import { type Closing, decodeClosing } from './closing.ts'
import { EXTENT_HEADER_SIZE } from './extent-header.ts'
import { HashRecordCheck } from './hash-records.ts'
import { CLOSING, HASHES, PAGE, RECORD_BYTES, type RecordExtent } from './records.ts'
import { TableEncoder } from './table.ts'

/** Bytes of the encoded index that are kept at most (64 KiB). Older bytes are only in its checksum. */
const KEPT = 1 << 16

export class TrailerCheck {
  /** The table as it must be. The archive's own table must be the same. */
  readonly #table: TableEncoder
  /** The checksum and the bytes of the index so far. */
  #index = { checksum: 0, bytes: 0 }
  /** Null if the archive has no hashes. */
  #hashes: HashRecordCheck | null = null
  #extents = 0
  #pages = 0
  #checksum = 0
  /** The bytes of the last page, which may be more than the rest of the table. */
  #lastPage: Uint8Array = Buffer.alloc(0)
  #closed = false
  #forgiving = false

  constructor({ drives }: Manifest) {
    this.#table = new TableEncoder(drives.map(({ id }) => id))
  }

  /** Whether the closing extent has come. */
  get isClosed(): boolean {
    return this.#closed
  }

  /** Called if earlier damage is already reported. From then on only the presence of a closing extent is checked. */
  forgive(): void {
    this.#forgiving = true
    this.#table.entries.clear()
  }

  /** Adds a slot of the current extent. */
  add(drive: number, cluster: number, mask: number): void {
    if (this.#forgiving) return
    this.#table.add(drive, cluster, mask)
  }

  /** Adds slots of clusters without data. */
  addZeroes(drive: number, first: number, count: number): void {
    if (this.#forgiving) return
    this.#table.addZeroes(drive, first, count)
  }

  /**
   * Adds the hashes of the stored clusters of the extent at byte `offset`. Called for the first extent, it says that the archive has
   * hash records. `known` is false if the data is not what was hashed.
   */
  addHashes(hashes: Uint8Array, known: boolean, offset: number): void {
    if (this.#forgiving) return
    this.#hashes ??= new HashRecordCheck()
    this.#hashes.add(hashes, known, offset)
  }

  /** Ends the current extent, which is no record and begins at byte `offset`. Throws DAMAGED if it is behind a page of the table. */
  endExtent(offset: number): void {
    if (this.#forgiving) return
    if (this.#pages > 0) throw damaged('an extent follows the table of the archive', offset)
    this.#table.endExtent()
    this.#extents++
    if (this.#table.entries.bytes.length >= KEPT) this.#digest()
  }

  /** Checks a record extent at byte `offset`. Throws DAMAGED if it does not agree with the archive before it. */
  see(record: RecordExtent, offset: number): void {
    if (this.#forgiving) {
      this.#closed ||= record.kind === CLOSING
      return
    }
    if (record.kind === HASHES) this.#hashRecord(record, offset)
    else if (record.kind === PAGE) this.#page(record, offset)
    else if (record.kind === CLOSING) this.#close(record, offset)
  }

  #hashRecord(record: RecordExtent, offset: number): void {
    this.#hashes?.see(record, offset)
    this.endExtent(offset)
  }

  #page({ number, bytes }: RecordExtent, offset: number): void {
    if (number === 0) this.#hashes?.end(offset)
    if (number !== this.#pages) throw damaged(`page ${this.#pages} of its table is missing`, offset)
    this.#checksum = crc32(this.#lastPage, this.#checksum)
    this.#lastPage = bytes
    this.#pages++
  }

  #close(record: RecordExtent, offset: number): void {
    const closing = decodeClosing(record)
    this.#closed = true
    if (closing === null) return
    const begin = offset - this.#pages * EXTENT_HEADER_SIZE
    if (closing.pages !== this.#pages || closing.extents !== this.#extents || closing.bytes !== begin) {
      const message = `the archive says that it has ${closing.extents} extents and ${closing.bytes} bytes before ${closing.pages} pages of its table; there are ${this.#extents}, ${begin} and ${this.#pages}`
      throw damaged(message, offset)
    }
    this.#compare(closing, offset)
  }

  #compare({ hasIndex, hasHashes, pages, tableBytes, tableChecksum }: Closing, offset: number): void {
    if (this.#hashes !== null && !hasHashes)
      throw damaged('the archive says that it has no hashes of its clusters', offset)
    const rest = tableBytes - (pages - 1) * RECORD_BYTES
    if (pages > 0) this.#checksum = crc32(this.#lastPage.subarray(0, rest), this.#checksum)
    if (this.#checksum !== tableChecksum) throw damaged('the checksum of its table is wrong', offset)
    this.#digest()
    const totals = this.#table.totals()
    const { checksum, bytes } = hasIndex ? this.#index : { checksum: 0, bytes: 0 }
    if (tableBytes !== bytes + totals.length || tableChecksum !== crc32(totals, checksum))
      throw damaged('its table does not agree with its extents', offset)
  }

  #digest(): void {
    const { bytes } = this.#table.entries
    this.#index = { checksum: crc32(bytes, this.#index.checksum), bytes: this.#index.bytes + bytes.length }
    this.#table.entries.clear()
  }
}

function damaged(message: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', message, { offset })
}
