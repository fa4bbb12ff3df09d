/**
 * Encodes and decodes the extents of a VMA archive (vma_spec.txt, "VMA Extent Header"): a header of 512 bytes with 59 slots, then
 * the stored blocks in the order of the slots. README.md says what we put into slots that other readers skip.
 */

import { VmapipeError } from '../../core/errors.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, popcount16 } from '../../core/geometry.ts'
import { decodeChecksum, type ExtentChecksum, encodeChecksum } from './checksum.ts'
import {
  BLOCK_COUNT,
  digestMatches,
  EXTENT_HEADER_SIZE,
  EXTENT_MAGIC,
  SLOT_TABLE,
  SLOTS,
  sealExtent,
  startExtent,
  UUID,
} from './extent-header.ts'
import { decodeRecord, type RecordExtent } from './records.ts'

export { EXTENT_HEADER_SIZE, SLOTS }

/** Slots for clusters. The real writer leaves the last slot free, and we put the checksum there. */
export const SLOTS_USED = 58
export const MAX_EXTENT_SIZE = EXTENT_HEADER_SIZE + SLOTS * BLOCKS_PER_CLUSTER * BLOCK_SIZE

const LAST_SLOT = SLOT_TABLE + (SLOTS - 1) * 8

/** Makes extent headers, one after the other. */
export class ExtentHeaderWriter {
  readonly #uuid: Uint8Array
  #header: Buffer
  #slots = 0
  #blocks = 0

  constructor(uuid: Uint8Array) {
    this.#uuid = uuid
    this.#header = startExtent(uuid)
  }

  /** The number of slots in use. */
  get slots(): number {
    return this.#slots
  }

  /** Adds clusters without data. */
  addZeroes(drive: number, first: number, count: number): void {
    const header = this.#header
    let at = SLOT_TABLE + this.#slots * 8
    for (let cluster = first; cluster < first + count; cluster++, at += 8) {
      header[at + 3] = drive
      header[at + 4] = cluster >>> 24
      header[at + 5] = cluster >>> 16
      header[at + 6] = cluster >>> 8
      header[at + 7] = cluster
    }
    this.#slots += count
  }

  add(drive: number, cluster: number, mask: number): void {
    const at = SLOT_TABLE + this.#slots++ * 8
    this.#header.writeUInt32BE(mask * 65536 + drive, at)
    this.#header.writeUInt32BE(cluster, at + 4)
    this.#blocks += popcount16(mask)
  }

  /** Returns the finished header of 512 bytes, with the checksum of the blocks unless it is null, and begins the next one. */
  finish(checksum: ExtentChecksum | null = null): Buffer {
    const header = this.#header
    if (checksum !== null) encodeChecksum(header, LAST_SLOT, checksum)
    sealExtent(header, this.#blocks)
    this.#header = startExtent(this.#uuid)
    this.#slots = 0
    this.#blocks = 0
    return header
  }
}

export interface Slot {
  drive: number
  cluster: number
  mask: number
}

export interface ExtentHeader {
  /** 4 KiB blocks that follow the header. */
  blocks: number
  /** The slots in use, in order; slots with dev_id 0 are left out. */
  slots: Slot[]
  /** The checksum of the blocks, or null if the header has none. */
  checksum: ExtentChecksum | null
  /** The record, if this extent has no clusters but is a page of the archive's table or its closing extent. */
  record: RecordExtent | null
}

/**
 * Checks and decodes a header of 512 bytes; `offset` is its place in the archive, for errors. The caller must check that the
 * drives exist and have these clusters. Throws DAMAGED.
 */
export function decodeExtentHeader(header: Buffer, uuid: Uint8Array, offset: number): ExtentHeader {
  const damaged = (message: string) => new VmapipeError('DAMAGED', message, { offset })
  const magic = header.readUInt32BE(0)
  if (magic !== EXTENT_MAGIC) throw damaged(`no extent begins here: it reads ${header.toString('hex', 0, 4)}`)
  if (!digestMatches(header)) throw damaged('the checksum of the extent header is wrong')
  if (header.compare(uuid, 0, 16, UUID, UUID + 16) !== 0)
    throw damaged('this extent belongs to another archive: its uuid differs')
  if (header.readUInt16BE(4) !== 0) throw damaged('reserved bytes of the extent are not zero')
  const slots: Slot[] = []
  let blocks = 0
  for (let at = SLOT_TABLE; at < EXTENT_HEADER_SIZE; at += 8) {
    const word = header.readUInt32BE(at)
    const drive = word & 0xff
    if (drive === 0) continue
    const mask = word >>> 16
    slots.push({ drive, cluster: header.readUInt32BE(at + 4), mask })
    blocks += popcount16(mask)
  }
  const claimed = header.readUInt16BE(BLOCK_COUNT)
  if (claimed !== blocks) throw damaged(`the extent claims ${claimed} blocks, its slots have ${blocks}`)
  return {
    blocks,
    slots,
    checksum: decodeChecksum(header, LAST_SLOT),
    record: slots.length > 0 ? null : decodeRecord(header),
  }
}
