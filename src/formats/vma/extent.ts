/**
 * The extents of a VMA archive (vma_spec.txt, "VMA Extent Header"): a header of 512 bytes with 59 slots, then the
 * stored blocks in the order of the slots.
 *
 *   0 magic  4 reserved  6 block_count  8 uuid  24 md5  40 slots[59]: mask(2) reserved(1) dev_id(1) cluster_num(4)
 */

import { hash } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, popcount16 } from '../../core/geometry.ts'

export const EXTENT_MAGIC = 0x564d4145 // "VMAE"
export const EXTENT_HEADER_SIZE = 512
export const SLOTS = 59
/** The real writer leaves the last slot free. */
export const SLOTS_USED = 58
export const MAX_EXTENT_SIZE = EXTENT_HEADER_SIZE + SLOTS * BLOCKS_PER_CLUSTER * BLOCK_SIZE

const BLOCK_COUNT = 6
const UUID = 8
const MD5 = 24
const SLOT_TABLE = 40

/** An extent header in the making. */
export class ExtentHeaderWriter {
  readonly #uuid: Uint8Array
  #header: Buffer
  #slots = 0
  #blocks = 0

  constructor(uuid: Uint8Array) {
    this.#uuid = uuid
    this.#header = this.#blank()
  }

  get slots(): number {
    return this.#slots
  }

  add(drive: number, cluster: number, mask: number): void {
    const at = SLOT_TABLE + this.#slots++ * 8
    this.#header.writeUInt32BE(mask * 65536 + drive, at)
    this.#header.writeUInt32BE(cluster, at + 4)
    this.#blocks += popcount16(mask)
  }

  /** The finished 512 bytes; the writer begins anew. */
  finish(): Buffer {
    const header = this.#header
    header.writeUInt16BE(this.#blocks, BLOCK_COUNT)
    header.set(hash('md5', header, 'buffer'), MD5)
    this.#header = this.#blank()
    this.#slots = 0
    this.#blocks = 0
    return header
  }

  #blank(): Buffer {
    const header = Buffer.alloc(EXTENT_HEADER_SIZE)
    header.writeUInt32BE(EXTENT_MAGIC, 0)
    header.set(this.#uuid, UUID)
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
}

/**
 * Checks and decodes 512 bytes; `offset` says where in the archive they are, for errors. Whether the drives exist
 * and the clusters are theirs is for the caller to check. Throws DAMAGED.
 */
export function decodeExtentHeader(header: Buffer, uuid: Uint8Array, offset: number): ExtentHeader {
  const damaged = (message: string) => new VmapipeError('DAMAGED', message, { offset })
  const magic = header.readUInt32BE(0)
  if (magic !== EXTENT_MAGIC) throw damaged(`no extent begins here: it reads ${header.toString('hex', 0, 4)}`)
  checkDigest(header, damaged)
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
  return { blocks, slots }
}

const DIGEST = Buffer.alloc(16)

function checkDigest(header: Buffer, damaged: (message: string) => VmapipeError): void {
  header.copy(DIGEST, 0, MD5, MD5 + 16)
  header.fill(0, MD5, MD5 + 16)
  const digest = hash('md5', header, 'buffer')
  header.set(DIGEST, MD5)
  if (!digest.equals(DIGEST)) throw damaged('the checksum of the extent header is wrong')
}
