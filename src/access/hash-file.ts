/**
 * Reads and writes a file of hashes: those of an archive that has none of its own (README.md beside this file). It has the hashes in the
 * order of clusters, in pages of 256, and a checksum of each page. Holes of a drive are holes of the file.
 */

import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { LRUCache } from 'lru-cache'
import { VmapipeError } from '../core/errors.ts'
import { clusterCount } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { Turns } from '../core/turns.ts'
import { HASH_BYTES } from '../formats/vma/cluster-hash.ts'
import { PartialFile } from '../storage/partial-file.ts'
import { openRaw } from '../storage/raw-file.ts'
import { writeAll } from '../system/write-all.ts'

const MAGIC = Buffer.from('VMAPHASH', 'latin1')
const VERSION = 1
const HEADER_SIZE = 72
/** Bytes of a page. The header has a page of its own. */
const PAGE = 4096
const PAGE_HASHES = PAGE / HASH_BYTES
/** Pages that are kept. */
const KEPT = 64
/** Pages that are read at once to make their checksums (1 MiB). */
const AT_ONCE = 256
/** The most pages: their checksums are 64 MiB, the drives 256 TiB. */
const MOST_PAGES = 1 << 24

/** Tells whether an archive is still the one that was hashed. */
export interface HashedArchive {
  manifest: Manifest
  /** The checksum of its end. */
  end: Uint8Array
  /** Bytes of the archive without its compression. */
  size: number
  /** Its last-modified time in nanoseconds; 0 if that is not known. */
  mtime: bigint
}

/** Gives the hashes of clusters, 16 bytes for each; zero bytes for a cluster that is not stored. A drive is named by its dev_id. */
export interface HashReader {
  read(drive: number, first: number, count: number): Promise<Uint8Array>
}

/** Takes the hashes of clusters that follow each other. */
export type AddHashes = (drive: number, first: number, hashes: Uint8Array) => Promise<void>

/** Where the pages of each drive begin in the file, by dev_id, and the number of all pages. */
class Layout {
  readonly #firsts = new Map<number, number>()
  readonly pages: number

  /** Throws USAGE if the drives are too large. */
  constructor({ drives }: Manifest) {
    let pages = 0
    for (const { id, size } of [...drives].sort((a, b) => a.id - b.id)) {
      this.#firsts.set(id, pages)
      pages += Math.ceil(clusterCount(size) / PAGE_HASHES)
    }
    if (pages > MOST_PAGES) throw new VmapipeError('USAGE', 'the hashes of drives as large as these are not kept')
    this.pages = pages
  }

  pageOf(drive: number, cluster: number): number {
    return this.#firsts.get(drive)! + Math.floor(cluster / PAGE_HASHES)
  }
}

function placeOf(page: number): number {
  return (page + 1) * PAGE
}

function headerOf({ manifest, end, size, mtime }: HashedArchive, table: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_SIZE)
  MAGIC.copy(header)
  header.writeUInt32BE(VERSION, 8)
  header.set(manifest.uuid, 12)
  header.set(end, 28)
  header.writeBigUInt64BE(BigInt(size), 44)
  header.writeBigInt64BE(mtime, 52)
  header.writeUInt32BE(crc32(table), 60)
  header.writeUInt32BE(crc32(header.subarray(0, HEADER_SIZE - 4)), HEADER_SIZE - 4)
  return header
}

/** Writes the file durably, with what `fill` adds. A file of this name is replaced. */
export async function writeHashFile(
  path: string,
  archive: HashedArchive,
  fill: (add: AddHashes) => Promise<void>,
): Promise<void> {
  const layout = new Layout(archive.manifest)
  const file = await PartialFile.create(path, { force: true })
  try {
    const filled = new Uint8Array(layout.pages)
    await fill(async (drive, first, hashes) => {
      const page = layout.pageOf(drive, first)
      const last = layout.pageOf(drive, first + hashes.byteLength / HASH_BYTES - 1)
      filled.fill(1, page, last + 1)
      await writeAll(file.handle, [hashes], placeOf(page) + (first % PAGE_HASHES) * HASH_BYTES)
    })
    await file.handle.truncate(placeOf(layout.pages))
    const table = await checksumsOf(file.handle, filled)
    await writeAll(file.handle, [table], placeOf(layout.pages))
    await writeAll(file.handle, [headerOf(archive, table)], 0)
    await file.publish()
  } finally {
    await file.close()
  }
}

/** The CRC-32 of each page, 4 bytes big endian for each. Pages that are not filled are zero. */
async function checksumsOf(file: FileHandle, filled: Uint8Array): Promise<Buffer> {
  const table = Buffer.alloc(filled.length * 4)
  const none = crc32(Buffer.alloc(PAGE))
  const pages = Buffer.alloc(AT_ONCE * PAGE)
  const turns = new Turns()
  for (let first = 0; first < filled.length; first += AT_ONCE) {
    const count = Math.min(AT_ONCE, filled.length - first)
    const isFilled = filled.subarray(first, first + count).includes(1)
    if (isFilled) await readWhole(file, pages.subarray(0, count * PAGE), placeOf(first))
    for (let at = 0; at < count; at++) {
      const checksum = isFilled ? crc32(pages.subarray(at * PAGE, (at + 1) * PAGE)) : none
      table.writeUInt32BE(checksum, (first + at) * 4)
    }
    await turns.take()
  }
  return table
}

async function readWhole(file: FileHandle, into: Uint8Array, offset: number): Promise<void> {
  for (let filled = 0; filled < into.byteLength; ) {
    const { bytesRead } = await file.read(into, filled, into.byteLength - filled, offset + filled)
    if (bytesRead === 0) throw wrong('is cut')
    filled += bytesRead
  }
}

/** An open file of hashes. */
export class HashFile implements HashReader {
  readonly #file: FileHandle
  readonly #layout: Layout
  readonly #checksums: Buffer
  readonly #pages = new LRUCache<number, Buffer>({ max: KEPT })

  private constructor(file: FileHandle, layout: Layout, checksums: Buffer) {
    this.#file = file
    this.#layout = layout
    this.#checksums = checksums
  }

  /** Opens the file if it has the hashes of this archive; null if there is none. Throws DAMAGED if it is wrong, or another archive's. */
  static async open(path: string, archive: HashedArchive): Promise<HashFile | null> {
    const layout = new Layout(archive.manifest)
    const opened = await openRaw(path, constants.O_RDONLY).catch((error) => {
      if ((error.cause ?? error).code === 'ENOENT') return null
      throw error
    })
    if (opened === null) return null
    const { file, stats } = opened
    try {
      if (stats.size !== placeOf(layout.pages) + layout.pages * 4) throw wrong('is of another archive, or cut')
      const table = Buffer.alloc(layout.pages * 4)
      await readWhole(file, table, placeOf(layout.pages))
      const header = Buffer.alloc(HEADER_SIZE)
      await readWhole(file, header, 0)
      if (!header.equals(headerOf(archive, table))) throw wrong('is of another archive, or the archive has changed')
      return new HashFile(file, layout, table)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async read(drive: number, first: number, count: number): Promise<Uint8Array> {
    const all = new Uint8Array(count * HASH_BYTES)
    for (let done = 0; done < count; ) {
      const from = ((first + done) % PAGE_HASHES) * HASH_BYTES
      const page = await this.#page(this.#layout.pageOf(drive, first + done))
      const part = page.subarray(from, from + (count - done) * HASH_BYTES)
      all.set(part, done * HASH_BYTES)
      done += part.byteLength / HASH_BYTES
    }
    return all
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  async #page(page: number): Promise<Buffer> {
    const kept = this.#pages.get(page)
    if (kept !== undefined) return kept
    const bytes = Buffer.alloc(PAGE)
    await readWhole(this.#file, bytes, placeOf(page))
    if (crc32(bytes) !== this.#checksums.readUInt32BE(page * 4)) throw wrong('is damaged')
    this.#pages.set(page, bytes)
    return bytes
  }
}

function wrong(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the file of hashes ${what}`)
}
