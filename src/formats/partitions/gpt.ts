/**
 * Decodes GUID partition tables: UEFI Specification, 5.3 "GUID Partition Table (GPT) Disk Layout". A header is in the second sector
 * and again in the last one. It says where its array of entries is. Both have checksums. Integers are little endian.
 */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'

/** Bytes of the "GPT Header" that are defined. */
const HEADER_BYTES = 92
/** The least bytes of a "GPT Partition Entry". Larger ones are a multiple of this. */
const ENTRY_BYTES = 128
/** 1 MiB, more than any real table: 128 entries of 128 bytes are usual. */
const MAX_ARRAY_BYTES = 2 ** 20

const NAME_BYTES = 72
const UNUSED = '00000000-0000-0000-0000-000000000000'

export interface GptHeader {
  /** Sector numbers. */
  self: number
  array: number
  firstUsable: number
  lastUsable: number
  disk: string
  entries: number
  entryBytes: number
  arrayChecksum: number
}

interface GptEntry {
  /** The number of the entry, from 1. */
  number: number
  type: string
  guid: string
  /** The first and the last sector. Both belong to the partition. */
  first: number
  last: number
  name: string
}

/** Whether these bytes begin like a header. The header may still be wrong. */
export function isGptHeader(sector: Buffer): boolean {
  return sector.toString('latin1', 0, 8) === 'EFI PART'
}

/** Decodes the header in the sector of this number. Throws DAMAGED if it is no header, or wrong. */
export function decodeGptHeader(sector: Buffer, number: number): GptHeader {
  const bad = (what: string) => new VmapipeError('DAMAGED', `the GPT header in sector ${number} ${what}`)
  if (!isGptHeader(sector)) throw bad('is missing')
  const size = sector.readUInt32LE(12)
  if (size < HEADER_BYTES || size > sector.length) throw bad(`says that it has ${size} bytes`)
  const signed = Buffer.from(sector.subarray(0, size))
  signed.writeUInt32LE(0, 16)
  if (crc32(signed) !== sector.readUInt32LE(16)) throw bad('has a wrong checksum')
  const header = {
    self: sectorNumber(sector, 24),
    array: sectorNumber(sector, 72),
    firstUsable: sectorNumber(sector, 40),
    lastUsable: sectorNumber(sector, 48),
    disk: guidText(sector, 56),
    entries: sector.readUInt32LE(80),
    entryBytes: sector.readUInt32LE(84),
    arrayChecksum: sector.readUInt32LE(88),
  }
  const { entries, entryBytes } = header
  if (header.self !== number) throw bad(`says that it is in sector ${header.self}`)
  if (entryBytes < ENTRY_BYTES || entryBytes % ENTRY_BYTES !== 0) throw bad(`has entries of ${entryBytes} bytes`)
  if (entries * entryBytes > MAX_ARRAY_BYTES) throw bad(`has ${entries} entries of ${entryBytes} bytes`)
  return header
}

/** Decodes the entries in use. Throws DAMAGED if the array's checksum is wrong. */
export function decodeGptEntries(array: Buffer, { entries, entryBytes, arrayChecksum, self }: GptHeader): GptEntry[] {
  if (crc32(array) !== arrayChecksum) {
    throw new VmapipeError('DAMAGED', `the GPT entries of the header in sector ${self} have a wrong checksum`)
  }
  const found: GptEntry[] = []
  for (let index = 0; index < entries; index++) {
    const entry = array.subarray(index * entryBytes, (index + 1) * entryBytes)
    const type = guidText(entry, 0)
    if (type === UNUSED) continue
    const [name] = entry.toString('utf16le', 56, 56 + NAME_BYTES).split('\0')
    const [first, last] = [sectorNumber(entry, 32), sectorNumber(entry, 40)]
    found.push({ number: index + 1, type, guid: guidText(entry, 16), first, last, name })
  }
  return found
}

/** A sector number. Above 2^53 it is not exact, but such a sector is past the end of any drive. */
function sectorNumber(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

/** Appendix A "GUID and Time Formats": the first three parts are little endian. */
function guidText(bytes: Buffer, at: number): string {
  const part = (from: number, to: number) => bytes.toString('hex', at + from, at + to)
  const swapped = (from: number, to: number) =>
    Buffer.from(bytes.subarray(at + from, at + to))
      .reverse()
      .toString('hex')
  return [swapped(0, 4), swapped(4, 6), swapped(6, 8), part(8, 10), part(10, 16)].join('-')
}

const TYPES: Record<string, string> = {
  'c12a7328-f81f-11d2-ba4b-00a0c93ec93b': 'EFI system',
  '21686148-6449-6e6f-744e-656564454649': 'BIOS boot',
  '0fc63daf-8483-4772-8e79-3d69d8477de4': 'Linux',
  '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f': 'Linux swap',
  'e6d6d379-f507-44c2-a23c-238f2a3df928': 'Linux LVM',
  'a19d880f-05fc-4d3b-a006-743f0f84911e': 'Linux RAID',
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709': 'Linux root (x86-64)',
  'b921b045-1df0-41c3-af44-4c6f280d3fae': 'Linux root (ARM-64)',
  '933ac7e1-2eb4-4f13-b844-0e14e2aef915': 'Linux home',
  'bc13c2ff-59e6-4262-a352-b275fd6f7172': 'Linux extended boot',
  'ebd0a0a2-b9e5-4433-87c0-68b6b72699c7': 'Microsoft basic data',
  'e3c9e316-0b5c-4db8-817d-f92df00215ae': 'Microsoft reserved',
  'de94bba4-06d1-4d40-a16a-bfd50179d6ac': 'Windows recovery',
  '516e7cb6-6ecf-11d6-8ff8-00022d09712b': 'FreeBSD UFS',
  '516e7cba-6ecf-11d6-8ff8-00022d09712b': 'FreeBSD ZFS',
  '48465300-0000-11aa-aa11-00306543ecac': 'Apple HFS+',
  '7c3457ef-0000-11aa-aa11-00306543ecac': 'Apple APFS',
}

/** The usual name of the partition type, or the GUID itself if there is none. */
export function gptTypeName(type: string): string {
  return TYPES[type] ?? type
}
