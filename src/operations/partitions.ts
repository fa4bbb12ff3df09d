/** Reads the partition table of a drive in an archive: MBR with logical partitions, or GPT. It reads nothing else of the drive. */

import { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { roundUp } from '../core/geometry.ts'
import { abortSignal, callback, checkOptions, names, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import {
  decodeGptEntries,
  decodeGptHeader,
  type GptHeader,
  gptTypeName,
  isGptHeader,
} from '../formats/partitions/gpt.ts'
import { decodeMbr, isExtended, MBR_BYTES, type MbrEntry, mbrTypeName, PROTECTIVE } from '../formats/partitions/mbr.ts'
import type { DriveReader } from '../storage/drive.ts'
import { openArchive } from './open-archive.ts'

/** One partition of a drive. */
export interface Partition {
  /** The number as in Linux: logical partitions begin at 5. */
  number: number
  /** In bytes, from the start of the drive. */
  offset: number
  length: number
  /** Two hexadecimal digits of an MBR's type, or a GPT's GUID. */
  type: string
  typeName: string
  /** GPT only. */
  name?: string
  guid?: string
  /** MBR only. */
  bootable?: boolean
  /** The partition has logical partitions in it, and no filesystem. */
  extended?: boolean
}

/** The partition table of a drive. */
export interface PartitionTable {
  /** Null if the drive has no partition table that we know. */
  scheme: 'mbr' | 'gpt' | null
  sectorSize: number
  partitions: Partition[]
  /** What is wrong with the table, in a line each. Partitions that could be read are listed nevertheless. */
  problems: string[]
}

/** Which drive's partitions are read. */
export interface PartitionsOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`. */
  from: string
  /** The name of the drive in the archive. */
  drive: string
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for unpacked drives, if the archive can only be read once. */
  spool?: string
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
  /** Aborts the operation. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn?: (message: string) => void
}

const shape = {
  from: text,
  drive: text,
  parents: names,
  spool: text,
  keys: z.instanceof(Keyring),
  signal: abortSignal,
  warn: callback,
} satisfies Shape<PartitionsOptions>

/**
 * Reads the partition table of a drive in an archive.
 * Errors: USAGE, FAILED, DAMAGED (the table cannot be read), INCOMPLETE, ABORTED.
 *
 *     const { partitions } = await readPartitions({ from: 'vm.vma.zst', drive: 'drive-scsi0' })
 *     console.log(partitions.length)
 */
export async function readPartitions(given: PartitionsOptions): Promise<PartitionTable> {
  checkOptions('readPartitions', { shape, required: ['from', 'drive'] }, given)
  const { from, drive, ...options } = given
  const archive = await openArchive(from, { ...options, only: [drive] })
  try {
    const reader = archive.drive(drive)
    return await partitionsOf(reader).catch((error) => {
      const failure = asVmapipeError(error)
      failure.where.drive ??= drive
      throw failure
    })
  } finally {
    await archive.close()
  }
}

/** The GPT is used if the MBR says so, as in every system, or if there is no MBR. */
export async function partitionsOf(drive: DriveReader): Promise<PartitionTable> {
  const none = { scheme: null, sectorSize: 512, partitions: [], problems: [] }
  if (drive.size < MBR_BYTES) return none
  const entries = decodeMbr(await readBytes(drive, 0, MBR_BYTES))
  if (entries?.some(({ type }) => type === PROTECTIVE)) return readGpt(drive)
  if (entries?.some(({ type }) => type !== 0)) return readMbr(drive, entries)
  return (await gptSectorSize(drive)) === null ? none : readGpt(drive)
}

/** The most logical partitions, as many as Linux shows. A damaged chain of records could go on for ever. */
const MAX_LOGICAL = 256

async function readMbr(drive: DriveReader, entries: readonly MbrEntry[]): Promise<PartitionTable> {
  const table: PartitionTable = { scheme: 'mbr', sectorSize: 512, partitions: [], problems: [] }
  for (const [index, entry] of entries.entries()) {
    if (entry.type !== 0) addMbr(table, drive, index + 1, entry, 0)
  }
  let number = 5
  for (const entry of entries) if (isExtended(entry.type)) number = await addLogical(table, drive, entry, number)
  return table
}

/** Follows the chain of extended boot records. Returns the number for the next partition. */
async function addLogical(table: PartitionTable, drive: DriveReader, within: MbrEntry, from: number): Promise<number> {
  const seen = new Set<number>()
  let number = from
  for (let record = within.first; ; ) {
    if (seen.has(record) || seen.size >= MAX_LOGICAL || (record + 1) * 512 > drive.size) {
      table.problems.push(`the logical partitions from number ${number} on cannot be found: sector ${record} is next`)
      return number
    }
    seen.add(record)
    const entries = decodeMbr(await readBytes(drive, record * 512, MBR_BYTES))
    if (entries === null) {
      table.problems.push(`the record of logical partition ${number} in sector ${record} is damaged`)
      return number
    }
    const logical = entries.find(({ type }) => type !== 0 && !isExtended(type))
    if (logical) addMbr(table, drive, number++, logical, record)
    const next = entries.find(({ type }) => isExtended(type))
    if (next === undefined) return number
    record = within.first + next.first
  }
}

function addMbr(table: PartitionTable, drive: DriveReader, number: number, entry: MbrEntry, base: number): void {
  const { type, bootable, first, count } = entry
  const more = isExtended(type) ? { bootable, extended: true } : { bootable }
  const partition = {
    ...{ number, offset: (base + first) * 512, length: count * 512 },
    ...{ type: type.toString(16).padStart(2, '0'), typeName: mbrTypeName(type), ...more },
  }
  add(table, drive, partition)
}

async function readGpt(drive: DriveReader): Promise<PartitionTable> {
  const sectorSize = (await gptSectorSize(drive)) ?? 512
  const table: PartitionTable = { scheme: 'gpt', sectorSize, partitions: [], problems: [] }
  const last = Math.floor(drive.size / sectorSize) - 1
  for (const place of last > 1 ? [1, last] : [1]) {
    try {
      return await addGpt(table, drive, place)
    } catch (error) {
      const { code, message } = asVmapipeError(error)
      if (code !== 'DAMAGED') throw error
      table.problems.push(message)
    }
  }
  throw new VmapipeError('DAMAGED', `there is a GPT, but it cannot be read: ${table.problems.join('; ')}`)
}

async function addGpt(table: PartitionTable, drive: DriveReader, place: number): Promise<PartitionTable> {
  const { sectorSize } = table
  const header = decodeGptHeader(await readBytes(drive, place * sectorSize, sectorSize), place)
  const found = decodeGptEntries(await readArray(drive, header, sectorSize), header)
  for (const { number, type, guid, first, last, name } of found) {
    const place = { offset: first * sectorSize, length: (last - first + 1) * sectorSize }
    add(table, drive, { number, ...place, type, typeName: gptTypeName(type), name, guid })
  }
  return table
}

async function readArray(drive: DriveReader, header: GptHeader, sectorSize: number): Promise<Buffer> {
  const length = header.entries * header.entryBytes
  const offset = header.array * sectorSize
  if (offset + roundUp(length, sectorSize) > drive.size) {
    throw new VmapipeError('DAMAGED', `the GPT header in sector ${header.self} says that its entries are past the end`)
  }
  return readBytes(drive, offset, length)
}

/** The sector size with which a GPT header is at its place; null if there is none. */
async function gptSectorSize(drive: DriveReader): Promise<number | null> {
  for (const size of [512, 4096]) {
    const sectors = Math.floor(drive.size / size)
    for (const sector of sectors > 2 ? [1, sectors - 1] : []) {
      if (isGptHeader(await readBytes(drive, sector * size, size))) return size
    }
  }
  return null
}

function add(table: PartitionTable, drive: DriveReader, partition: Partition): void {
  const { number, offset, length } = partition
  if (length > 0 && offset + length <= drive.size) table.partitions.push(partition)
  else table.problems.push(`partition ${number} is not within the drive: ${length} bytes at ${offset}`)
}

async function readBytes(drive: DriveReader, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  await drive.read(bytes, offset)
  return bytes
}
