/**
 * The file that says which regions of a drive were written since when.
 *
 *     0       CRC-32 of what is behind; 4 length of a JSON text; 8 the text (Head): up to 16384
 *     16384   how long it holds (Until): 0-3 CRC-32 of what is behind; 4-11 use; 12-19 and 20-27 milliseconds since the epoch; to 512
 *     20480   bitmaps, one after the other. Each is sectors of 512 bytes: 0-3 CRC-32 of the bitmap's serial number (64 bits), the
 *             sector's number (32 bits) and the bytes behind; 4-511 a bit for each of 4064 regions, the lowest of a byte first
 *
 * Integers are big endian. Each sector of a bitmap is written before the bitmap is used, and carries the bitmap's number: one that
 * belongs to an older bitmap is damage. Damage of any kind makes the whole file worthless, which costs one reading of the drive.
 */

import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import { z } from '../../core/stage.ts'
import type { Regions } from './regions.ts'

const VERSION = 1
const HEAD_BYTES = 16384
const UNTIL_AT = HEAD_BYTES
const BITMAPS_AT = 20480
const SECTOR = 512
export const SECTOR_REGIONS = (SECTOR - 4) * 8

/** Bitmaps that a file has room for. */
export const SLOTS = 16

const number = z.string().regex(/^\d{1,20}$/)
const hex = z.string().regex(/^[0-9a-f]{16}$/)

const generation = z.strictObject({
  /** Where its bitmap is. */
  slot: z
    .int()
    .min(0)
    .max(SLOTS - 1),
  /** Of its bitmap. */
  serial: hex,
  /** Uuids of the archives whose point in time is its beginning, or later. */
  names: z.array(z.string().max(36)),
  /** All that was written before its beginning is durable. */
  sealed: z.boolean(),
})

const head = z.strictObject({
  version: z.literal(VERSION),
  drive: z.string(),
  size: z.int().min(1),
  region: z.int().min(1),
  /** Changes whenever the file is opened. */
  use: hex,
  closed: z.boolean(),
  boot: z.string(),
  image: z.strictObject({ device: number, inode: number, size: number, mtime: number, ctime: number }).nullable(),
  /** Why nothing is known of the time before the first generation. */
  lost: z.string(),
  /** From the oldest to the newest, which is the one that writes are marked in. */
  generations: z.array(generation).max(SLOTS),
})

export type Head = z.output<typeof head>
export type Generation = z.output<typeof generation>

/** Milliseconds since the epoch: the service has written nothing later, if it was killed, or if the power failed. */
export interface Until {
  killed: number
  failed: number
}

/** The part of a FileHandle that is needed here. */
export interface TrackStore {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>
  datasync(): Promise<void>
  close(): Promise<void>
}

export function newNumber(): string {
  return randomBytes(8).toString('hex')
}

export class TrackFile {
  readonly #store: TrackStore

  constructor(store: TrackStore) {
    this.#store = store
  }

  /** Null for an empty file. Throws DAMAGED. */
  async readHead(): Promise<Head | null> {
    const bytes = await this.#read(HEAD_BYTES, 0)
    if (bytes.length === 0) return null
    const length = bytes.length < HEAD_BYTES ? HEAD_BYTES : bytes.readUInt32BE(4)
    if (length > HEAD_BYTES - 8 || crc32(bytes.subarray(4)) !== bytes.readUInt32BE(0)) throw damaged(0)
    const found = head.safeParse(JSON.parse(bytes.toString('utf8', 8, 8 + length)))
    if (!found.success) throw new VmapipeError('DAMAGED', 'another version of vmapipe has written it')
    const { generations, size, region } = found.data
    if (new Set(generations.map(({ slot }) => slot)).size !== generations.length) throw damaged(0)
    if (region % 65536 !== 0 || size / region > 2 ** 30) throw damaged(0)
    return found.data
  }

  /** Durable when it is done. */
  async writeHead(value: Head): Promise<void> {
    const bytes = Buffer.alloc(HEAD_BYTES)
    const length = bytes.write(JSON.stringify(value), 8)
    if (length >= HEAD_BYTES - 8) throw new VmapipeError('FAILED', 'what is to be tracked does not fit')
    bytes.writeUInt32BE(length, 4)
    bytes.writeUInt32BE(crc32(bytes.subarray(4)), 0)
    await this.#write(bytes, 0)
    await this.sync()
  }

  /** Of this use of the file; the beginning of time for any other. */
  async readUntil(use: string): Promise<Until> {
    const bytes = await this.#read(SECTOR, UNTIL_AT)
    const isRight =
      bytes.length === SECTOR &&
      bytes.readUInt32BE(0) === crc32(bytes.subarray(4)) &&
      bytes.toString('hex', 4, 12) === use
    if (!isRight) return { killed: 0, failed: 0 }
    return { killed: Number(bytes.readBigUInt64BE(12)), failed: Number(bytes.readBigUInt64BE(20)) }
  }

  /** Survives a kill of this process when it is done, and a power failure when the file is synced. */
  async writeUntil(use: string, { killed, failed }: Until): Promise<void> {
    const bytes = Buffer.alloc(SECTOR)
    bytes.write(use, 4, 'hex')
    bytes.writeBigUInt64BE(BigInt(killed), 12)
    bytes.writeBigUInt64BE(BigInt(failed), 20)
    bytes.writeUInt32BE(crc32(bytes.subarray(4)), 0)
    await this.#write(bytes, UNTIL_AT)
  }

  /** Writes these sectors of a bitmap as they are now. */
  async writeSectors({ slot, serial }: Generation, regions: Regions, sectors: Iterable<number>): Promise<void> {
    const at = bitmapAt(slot, regions)
    // Sectors that are adjacent are one write.
    let run: { first: number; parts: Buffer[] } | null = null
    const flush = async () => {
      if (run !== null) await this.#write(Buffer.concat(run.parts), at + run.first * SECTOR)
    }
    for (const sector of [...sectors].sort((a, b) => a - b)) {
      const bytes = encodeSector(serial, sector, bitsOf(regions, sector))
      if (run !== null && run.first + run.parts.length === sector) run.parts.push(bytes)
      else {
        await flush()
        run = { first: sector, parts: [bytes] }
      }
    }
    await flush()
  }

  /** Writes a whole bitmap. */
  async writeBitmap(generation: Generation, regions: Regions): Promise<void> {
    await this.writeSectors(generation, regions, Array(sectorCount(regions)).keys())
  }

  /** Adds the regions of a bitmap to `regions`. Throws DAMAGED. */
  async readBitmap({ slot, serial }: Generation, regions: Regions): Promise<void> {
    const at = bitmapAt(slot, regions)
    const bytes = await this.#read(sectorCount(regions) * SECTOR, at)
    for (let sector = 0; sector < sectorCount(regions); sector++) {
      const found = bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR)
      const isRight = found.length === SECTOR && found.equals(encodeSector(serial, sector, found.subarray(4)))
      if (!isRight) throw damaged(at + sector * SECTOR)
      regions.include(found.subarray(4), sector * SECTOR_REGIONS)
    }
  }

  sync(): Promise<void> {
    return this.#store.datasync()
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  async #read(length: number, position: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await this.#store.read(buffer, done, length - done, position + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return buffer.subarray(0, done)
  }

  async #write(buffer: Buffer, position: number): Promise<void> {
    for (let done = 0; done < buffer.length; ) {
      const { bytesWritten } = await this.#store.write(buffer, done, buffer.length - done, position + done)
      if (bytesWritten === 0) throw new VmapipeError('FAILED', 'the file takes no more bytes')
      done += bytesWritten
    }
  }
}

function sectorCount({ count }: Regions): number {
  return Math.ceil(count / SECTOR_REGIONS)
}

function bitmapAt(slot: number, regions: Regions): number {
  return BITMAPS_AT + slot * sectorCount(regions) * SECTOR
}

function bitsOf({ bits }: Regions, sector: number): Uint8Array {
  const bytes = SECTOR - 4
  return bits.subarray(sector * bytes, (sector + 1) * bytes)
}

function encodeSector(serial: string, number: number, bits: Uint8Array): Buffer {
  const sector = Buffer.alloc(SECTOR)
  sector.set(bits, 4)
  const prefix = Buffer.allocUnsafe(12)
  prefix.write(serial, 0, 'hex')
  prefix.writeUInt32BE(number, 8)
  sector.writeUInt32BE(crc32(sector.subarray(4), crc32(prefix)), 0)
  return sector
}

function damaged(offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', 'it is damaged', { offset })
}
