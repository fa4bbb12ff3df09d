/**
 * Encodes and decodes the header of a VMA archive (vma_spec.txt, "VMA Header"): a fixed part of 12288 bytes, then the blob buffer.
 *
 *   0 magic  4 version  8 uuid  24 ctime  32 md5  48 blob_buffer_offset  52 blob_buffer_size  56 header_size
 *   60 the archive's record (archive-record.ts)
 *   2044 config_names[256]  3068 config_data[256]  4096 dev_info[256]  12288 blob buffer
 */

import { hash } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_DRIVE_SIZE } from '../../core/geometry.ts'
import { type ConfigFile, type DriveInfo, Manifest } from '../../core/items.ts'
import { decodeArchiveRecord, encodeArchiveRecord } from './archive-record.ts'
import { BlobReader, BlobWriter } from './blobs.ts'
import { CONFIG_NAMES, driveEntry } from './header-fields.ts'

const HEADER_MAGIC = 0x564d4100 // "VMA\0"
export const FIXED_HEADER_SIZE = 12288
/** The largest header (512 KiB): the real tool refuses to write a larger one. */
export const MAX_HEADER_SIZE = 512 << 10
const MAX_DRIVES = 254
const MAX_CONFIGS = 256
export const MAX_CONFIG_SIZE = 65535

/** What the record says who wrote the archive. */
const TOOL = 'vmapipe 0.1.0'
const VERSION = 1
/** The version of an incremental archive. Other programs refuse it at the first look: they would take it for a full one. */
const INCREMENTAL_VERSION = 2
const UUID = 8
const CTIME = 24
const MD5 = 32
const BLOB_BUFFER_OFFSET = 48
const BLOB_BUFFER_SIZE = 52
const HEADER_SIZE = 56
const CONFIG_DATA = 3068

/** The uuid of an archive that begins with these bytes; null if it is no archive or these bytes are too few. */
export function startUuid(start: Buffer): Uint8Array | null {
  if (start.length < UUID + 16 || start.readUInt32BE(0) !== HEADER_MAGIC) return null
  return Uint8Array.from(start.subarray(UUID, UUID + 16))
}

/** Encodes the header. `signed`: it says which program wrote it, as an archive with additions of ours does. Throws USAGE if the manifest does not fit into the format. */
export function encodeHeader(manifest: Manifest, { signed = false } = {}): Buffer {
  const { uuid, ctime, configs, drives, isIncremental } = manifest
  const record = manifest.record ?? (signed ? { parent: null, guest: null, full: null } : null)
  checkManifest(configs, drives)
  const fixed = Buffer.alloc(FIXED_HEADER_SIZE)
  const blobs = new BlobWriter()
  fixed.writeUInt32BE(HEADER_MAGIC, 0)
  fixed.writeUInt32BE(isIncremental ? INCREMENTAL_VERSION : VERSION, 4)
  fixed.set(uuid, UUID)
  fixed.writeBigInt64BE(BigInt(ctime), CTIME)
  if (record !== null) encodeArchiveRecord(fixed, record, TOOL)
  for (const [index, { name, data }] of configs.entries()) {
    fixed.writeUInt32BE(blobs.addText(name), CONFIG_NAMES + index * 4)
    fixed.writeUInt32BE(blobs.add(data), CONFIG_DATA + index * 4)
  }
  for (const { id, name, size } of drives) {
    fixed.writeUInt32BE(blobs.addText(name), driveEntry(id))
    fixed.writeBigUInt64BE(BigInt(size), driveEntry(id) + 8)
  }
  const blobBuffer = blobs.bytes()
  const headerSize = FIXED_HEADER_SIZE + blobs.allocated
  if (headerSize > MAX_HEADER_SIZE) {
    throw new VmapipeError(
      'USAGE',
      `names and config files make a header of ${headerSize} bytes, at most ${MAX_HEADER_SIZE} are allowed`,
    )
  }
  fixed.writeUInt32BE(FIXED_HEADER_SIZE, BLOB_BUFFER_OFFSET)
  fixed.writeUInt32BE(blobBuffer.length, BLOB_BUFFER_SIZE)
  fixed.writeUInt32BE(headerSize, HEADER_SIZE)
  const header = Buffer.concat([fixed, blobBuffer], headerSize)
  header.set(hash('md5', header, 'buffer'), MD5)
  return header
}

function checkManifest(configs: ConfigFile[], drives: DriveInfo[]): void {
  const refuse = (message: string, drive?: string): never => {
    throw new VmapipeError('USAGE', message, { drive })
  }
  if (drives.length > MAX_DRIVES) refuse(`${drives.length} drives, an archive holds at most ${MAX_DRIVES}`)
  if (configs.length > MAX_CONFIGS) refuse(`${configs.length} config files, an archive holds at most ${MAX_CONFIGS}`)
  for (const { name, data } of configs) {
    if (data.byteLength > MAX_CONFIG_SIZE) {
      refuse(`config file '${name}' has ${data.byteLength} bytes, an archive holds at most ${MAX_CONFIG_SIZE}`)
    }
  }
  const ids = new Set<number>()
  for (const { id, name, size } of drives) {
    if (!(Number.isInteger(id) && id >= 1 && id <= MAX_DRIVES) || ids.has(id))
      refuse(`dev_id ${id} cannot be used`, name)
    if (!(size > 0 && size <= MAX_DRIVE_SIZE)) refuse(`a drive of ${size} bytes cannot be archived`, name)
    ids.add(id)
  }
}

/** The number of bytes that are needed to know the size of the header. */
export const HEADER_START = 60

/** The size of the header in bytes, by its first 60. Throws DAMAGED if the size is impossible. */
export function headerSize(start: Buffer): number {
  if (start.readUInt32BE(0) !== HEADER_MAGIC) {
    throw new VmapipeError('DAMAGED', `not a VMA archive: it begins with ${start.toString('hex', 0, 4)}`, { offset: 0 })
  }
  const version = start.readUInt32BE(4)
  if (version !== VERSION && version !== INCREMENTAL_VERSION)
    throw damaged(`VMA version ${version} is not known, only ${VERSION} and ${INCREMENTAL_VERSION} are`, 4)
  const size = start.readUInt32BE(HEADER_SIZE)
  if (size < FIXED_HEADER_SIZE || size > MAX_HEADER_SIZE) {
    throw damaged(
      `the header claims ${size} bytes, it can have ${FIXED_HEADER_SIZE} to ${MAX_HEADER_SIZE}`,
      HEADER_SIZE,
    )
  }
  return size
}

/** Decodes a whole header of `headerSize` bytes. Throws DAMAGED. */
export function decodeHeader(header: Buffer): Manifest {
  const digest = Buffer.from(header.subarray(MD5, MD5 + 16))
  const blank = Buffer.from(header)
  blank.fill(0, MD5, MD5 + 16)
  if (!hash('md5', blank, 'buffer').equals(digest)) throw damaged('the checksum of the header is wrong', MD5)
  const blobOffset = header.readUInt32BE(BLOB_BUFFER_OFFSET)
  const blobSize = header.readUInt32BE(BLOB_BUFFER_SIZE)
  if (blobOffset < FIXED_HEADER_SIZE || blobOffset + blobSize > header.length) {
    throw damaged(`the blob buffer (${blobSize} bytes at ${blobOffset}) is outside the header`, BLOB_BUFFER_OFFSET)
  }
  const blobs = new BlobReader(header.subarray(blobOffset, blobOffset + blobSize), blobOffset)
  return new Manifest({
    uuid: Uint8Array.from(header.subarray(UUID, UUID + 16)),
    ctime: Number(header.readBigInt64BE(CTIME)),
    configs: decodeConfigs(header, blobs),
    drives: decodeDrives(header, blobs),
    record: decodeArchiveRecord(header, header.readUInt32BE(4) === INCREMENTAL_VERSION),
  })
}

function decodeConfigs(header: Buffer, blobs: BlobReader): ConfigFile[] {
  const configs: ConfigFile[] = []
  for (let index = 0; index < MAX_CONFIGS; index++) {
    const name = header.readUInt32BE(CONFIG_NAMES + index * 4)
    const data = header.readUInt32BE(CONFIG_DATA + index * 4)
    // The real reader skips an entry without a name or without data.
    if (name === 0 || data === 0) continue
    configs.push({ name: blobs.text(name), data: blobs.blob(data) })
  }
  return configs
}

function decodeDrives(header: Buffer, blobs: BlobReader): DriveInfo[] {
  const drives: DriveInfo[] = []
  for (let id = 1; id <= MAX_DRIVES; id++) {
    const at = driveEntry(id)
    const pointer = header.readUInt32BE(at)
    const size = header.readBigUInt64BE(at + 8)
    // The real reader skips an entry without a name or without a size.
    if (pointer === 0 || size === 0n) continue
    const name = blobs.text(pointer)
    if (size > BigInt(MAX_DRIVE_SIZE)) {
      throw new VmapipeError('DAMAGED', `${size} bytes are more than a drive can have`, { drive: name, offset: at + 8 })
    }
    drives.push({ id, name, size: Number(size) })
  }
  return drives
}

function damaged(message: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', message, { offset })
}

/** The error for an incremental archive without its parents. */
export class IncrementalAlone extends VmapipeError {
  constructor(uuid: Uint8Array) {
    const message = `the archive is incremental: it has only what changed since its parent, ${uuidText(uuid)}`
    const hint = 'name it as a file beside its parents; in a config, read it with chain-source'
    super('DAMAGED', message, { offset: 4, hint })
  }
}

/** Throws if the archive is incremental, for readers that would take absent clusters for lost ones. */
export function refuseIncremental({ record }: Manifest): void {
  if (record !== null && record.parent !== null) throw new IncrementalAlone(record.parent.uuid)
}

/** "01234567-89ab-4cde-8f01-23456789abcd" for the 16 bytes of a header (RFC 9562, section 4). */
export function uuidText(uuid: Uint8Array): string {
  return Buffer.from(uuid)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
