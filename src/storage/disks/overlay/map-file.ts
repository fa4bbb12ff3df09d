/**
 * The file of an overlay's block map. It is written in place by sectors, each with a checksum. A power failure leaves each sector
 * either old or new.
 *
 *     sector 0   0-7 "vmapblks"; 8 version, 1; 9 the use of the overlay (a letter); 10 drive's dev_id; 11 zero;
 *                12-15 bytes of a block; 16-31 uuid of the archive; 32-39 bytes of the drive;
 *                40-55 how long it is valid (recent-map.ts), or zeroes; zeroes; 508-511 CRC-32 of the bytes before
 *     sector n   0-3 CRC-32 of the sector's number (32 bits) and the bytes behind; 4-511 a bit for each of 4064 blocks,
 *                the lowest of a byte first: the overlay has it. A sector may be all zero if it has no bit.
 *
 * Integers are big endian.
 */

import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { writeAll } from '../../../system/write-all.ts'
import { fileExtents } from '../../holes.ts'
import { openRaw } from '../../raw-file.ts'
import { type BlockMap, type ChangedPages, PAGE_BLOCKS } from './block-map.ts'

/** Bytes of a block (4 KiB). Most writes of guests have whole ones. */
export const BLOCK = 4096

const SECTOR = 512
const MAGIC = 'vmapblks'
const VERSION = 1
/** Sectors that are read at a time. */
const BATCH = 2048

/** The drive that an overlay belongs to. An overlay of another drive is refused. */
export interface OverlayIdentity {
  purpose: 'overlay' | 'restore'
  uuid: Uint8Array
  /** dev_id of the drive. */
  drive: number
  /** Bytes of the drive. */
  size: number
  /** The boot id, for a map that is valid as long as the system runs. 16 bytes. */
  boot?: Uint8Array
}

export class MapFile {
  readonly #path: string
  readonly #file: FileHandle

  constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  static async open(path: string): Promise<MapFile> {
    const { file } = await openRaw(path, constants.O_RDWR | constants.O_NOFOLLOW)
    return new MapFile(path, file)
  }

  /** Makes the file that of an empty map, durably. */
  async create(identity: OverlayIdentity): Promise<void> {
    await this.#file.truncate(0)
    await writeAll(this.#file, [encodeIdentity(identity)], 0)
    await this.#file.datasync()
  }

  /** Whether the file is of this drive. */
  async isOf(identity: OverlayIdentity): Promise<boolean> {
    const head = Buffer.alloc(SECTOR)
    const { bytesRead } = await this.#file.read(head, 0, SECTOR, 0)
    return bytesRead === SECTOR && head.equals(encodeIdentity(identity))
  }

  /** Adds the blocks of the file to `map`. Throws if the file is of another drive, or damaged. */
  async load(identity: OverlayIdentity, map: BlockMap): Promise<void> {
    const { size } = await this.#file.stat()
    const sectors = Math.floor(size / SECTOR)
    if (sectors < 1 || size % SECTOR !== 0 || sectors > 1 + Math.ceil(map.size / PAGE_BLOCKS)) throw this.#damaged(0)
    const [head] = await this.#read(0, 1)
    const wanted = encodeIdentity(identity)
    if (head.readUInt32BE(508) !== crc32(head.subarray(0, 508)) || head.toString('latin1', 0, 8) !== MAGIC) {
      throw this.#damaged(0)
    }
    if (!head.equals(wanted)) throw foreign(this.#path, head, wanted)
    for await (const { offset, length, zero } of fileExtents(this.#file.fd, SECTOR, size - SECTOR)) {
      const end = Math.ceil((offset + length) / SECTOR)
      for (let at = Math.floor(offset / SECTOR); !zero && at < end; at += BATCH) {
        const count = Math.min(BATCH, end - at)
        for (const [index, sector] of (await this.#read(at, count)).entries()) this.#loadSector(at + index, sector, map)
      }
    }
  }

  /** Encodes these pages of the map as they are now. To be written when their blocks are durable. */
  encode(map: BlockMap, pages: ChangedPages): EncodedPages {
    const runs: EncodedPages = []
    for (const page of pages.inOrder) {
      const sector = encodeSector(page + 1, map.bits(page))
      const last = runs.at(-1)
      if (last && last.offset + last.sectors.length * SECTOR === (page + 1) * SECTOR) last.sectors.push(sector)
      else runs.push({ offset: (page + 1) * SECTOR, sectors: [sector] })
    }
    return runs
  }

  async write(pages: EncodedPages): Promise<void> {
    try {
      for (const { offset, sectors } of pages) await writeAll(this.#file, sectors, offset)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path })
    }
  }

  /** Makes what was written durable. */
  async sync(): Promise<void> {
    await this.#file.datasync().catch((error) => {
      throw asVmapipeError(error, { file: this.#path })
    })
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  async #read(first: number, count: number): Promise<Buffer[]> {
    const buffer = Buffer.alloc(count * SECTOR)
    const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, first * SECTOR)
    if (bytesRead !== buffer.length) throw this.#damaged(first * SECTOR + bytesRead)
    return Array.from({ length: count }, (_, index) => buffer.subarray(index * SECTOR, (index + 1) * SECTOR))
  }

  #loadSector(number: number, sector: Buffer, map: BlockMap): void {
    const bits = sector.subarray(4)
    if (sector.readUInt32BE(0) === checksum(number, bits)) map.load(number - 1, bits)
    else if (sector.some((byte) => byte !== 0)) throw this.#damaged(number * SECTOR)
  }

  #damaged(offset: number): VmapipeError {
    return new VmapipeError('DAMAGED', 'the map of this overlay is damaged', { file: this.#path, offset })
  }
}

/** Groups sectors that are adjacent in the file. */
export type EncodedPages = { offset: number; sectors: Buffer[] }[]

function encodeSector(number: number, bits: Uint8Array | undefined): Buffer {
  const sector = Buffer.alloc(SECTOR)
  if (bits === undefined) return sector
  sector.set(bits, 4)
  sector.writeUInt32BE(checksum(number, bits), 0)
  return sector
}

function checksum(number: number, bits: Uint8Array): number {
  const prefix = Buffer.allocUnsafe(4)
  prefix.writeUInt32BE(number)
  return crc32(bits, crc32(prefix))
}

function encodeIdentity({ purpose, uuid, drive, size, boot }: OverlayIdentity): Buffer {
  const sector = Buffer.alloc(SECTOR)
  sector.write(MAGIC, 'latin1')
  sector.writeUInt8(VERSION, 8)
  sector.write(purpose[0], 9, 'latin1')
  sector.writeUInt8(drive, 10)
  sector.writeUInt32BE(BLOCK, 12)
  sector.set(uuid, 16)
  sector.writeBigUInt64BE(BigInt(size), 32)
  if (boot) sector.set(boot, 40)
  sector.writeUInt32BE(crc32(sector.subarray(0, 508)), 508)
  return sector
}

function foreign(file: string, found: Buffer, wanted: Buffer): VmapipeError {
  const same = (from: number, to: number) => found.subarray(from, to).equals(wanted.subarray(from, to))
  const what = !same(8, 9)
    ? 'is of another version of vmapipe'
    : !same(16, 32)
      ? 'belongs to another archive'
      : !same(10, 11) || !same(32, 40)
        ? 'belongs to another drive'
        : 'is of another kind'
  return new VmapipeError('USAGE', `the overlay here ${what}`, { file, hint: 'name another folder' })
}
