/** Makes and checks hash records, which carry the hashes of an archive's clusters in groups (README.md beside this file, section 5). */

import { VmapipeError } from '../../core/errors.ts'
import { HASH_BYTES } from './cluster-hash.ts'
import { EXTENT_HEADER_SIZE, SLOTS } from './extent-header.ts'
import { encodeRecord, HASHES, RECORD_BYTES, type RecordExtent } from './records.ts'

/** The writer ends a group at the first end of an extent behind so many clusters (1 GiB of data, 256 KiB of hashes). */
export const GROUP_CLUSTERS = 16384
/** The most hashes of a group. */
export const MAX_GROUP = GROUP_CLUSTERS + SLOTS - 1

/** The number of records of a group of so many hashes. */
export function recordsOf(hashes: number): number {
  return Math.ceil((hashes * HASH_BYTES) / RECORD_BYTES)
}

/** Collects the hashes of a group. */
class HashGroup {
  #hashes = Buffer.alloc(64 * HASH_BYTES)
  #length = 0

  /** The number of hashes. */
  get count(): number {
    return this.#length / HASH_BYTES
  }

  get bytes(): Buffer {
    return this.#hashes.subarray(0, this.#length)
  }

  add(hashes: Uint8Array): void {
    const length = this.#length + hashes.byteLength
    if (length > this.#hashes.length) {
      const larger = Buffer.alloc(Math.max(length, Math.min(2 * this.#hashes.length, MAX_GROUP * HASH_BYTES)))
      larger.set(this.bytes)
      this.#hashes = larger
    }
    this.#hashes.set(hashes, this.#length)
    this.#length = length
  }

  clear(): void {
    this.#length = 0
  }
}

/** Makes the hash records of an archive. */
export class HashRecordWriter {
  readonly #uuid: Uint8Array
  readonly #group = new HashGroup()

  constructor(uuid: Uint8Array) {
    this.#uuid = uuid
  }

  /** Whether the group is as large as it should become. */
  get isFull(): boolean {
    return this.#group.count >= GROUP_CLUSTERS
  }

  /** Whether there are no hashes. */
  get isEmpty(): boolean {
    return this.#group.count === 0
  }

  /** Adds the hashes of the stored clusters of an extent, in order. */
  add(hashes: Uint8Array): void {
    this.#group.add(hashes)
  }

  /** The records of all hashes since the last call, one after the other. */
  take(): Buffer {
    const { bytes, count } = this.#group
    const records = Buffer.allocUnsafe(recordsOf(count) * EXTENT_HEADER_SIZE)
    for (let number = 0; number < recordsOf(count); number++) {
      const part = bytes.subarray(number * RECORD_BYTES, (number + 1) * RECORD_BYTES)
      records.set(encodeRecord(this.#uuid, { kind: HASHES, number, bytes: part }), number * EXTENT_HEADER_SIZE)
    }
    this.#group.clear()
    return records
  }
}

/** Checks hash records against the clusters before them. */
export class HashRecordCheck {
  readonly #group = new HashGroup()
  /** For each hash of the group 1 if it is known: the data of a damaged extent is not what was hashed. */
  readonly #known = new Uint8Array(MAX_GROUP)
  /** The number of the next record. */
  #next = 0

  /** Adds the hashes of the stored clusters of the extent at byte `offset`, in order. If they are not known, only their number counts. */
  add(hashes: Uint8Array, known: boolean, offset: number): void {
    if (this.#next > 0) throw this.#missing(offset)
    const { count } = this.#group
    const added = hashes.byteLength / HASH_BYTES
    if (count >= GROUP_CLUSTERS && added > 0)
      throw damaged(`the hashes of the last ${count} clusters are missing`, offset)
    this.#known.fill(known ? 1 : 0, count, count + added)
    this.#group.add(hashes)
  }

  /** Checks the record at byte `offset`. */
  see({ number, bytes }: RecordExtent, offset: number): void {
    if (number !== this.#next || number >= recordsOf(this.#group.count)) throw this.#missing(offset)
    const expected = this.#expected(number, bytes)
    if (
      !bytes.subarray(0, expected.length).equals(expected) ||
      !bytes.subarray(expected.length).every((byte) => byte === 0)
    )
      throw damaged('the hashes of clusters that are recorded here are not those of their data', offset)
    this.#next++
    if (this.#next < recordsOf(this.#group.count)) return
    this.#group.clear()
    this.#next = 0
  }

  /** Called when the table follows at byte `offset`: the hashes of all clusters must have come. */
  end(offset: number): void {
    if (this.#group.count > 0) throw this.#missing(offset)
  }

  /** What the record of this number must have. Of hashes that are not known it is whatever the record has. */
  #expected(number: number, bytes: Buffer): Buffer {
    const from = number * RECORD_BYTES
    const part = this.#group.bytes.subarray(from, from + RECORD_BYTES)
    const last = Math.ceil((from + part.length) / HASH_BYTES)
    for (let hash = Math.floor(from / HASH_BYTES); hash < last; hash++) {
      if (this.#known[hash] === 1) continue
      const [start, end] = [
        Math.max(0, hash * HASH_BYTES - from),
        Math.min(part.length, (hash + 1) * HASH_BYTES - from),
      ]
      part.set(bytes.subarray(start, end), start)
    }
    return part
  }

  #missing(offset: number): VmapipeError {
    return damaged(`hash record ${this.#next} of ${recordsOf(this.#group.count)} is missing`, offset)
  }
}

function damaged(message: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', message, { offset })
}
