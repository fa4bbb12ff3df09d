/** Reads and writes ARCHIVE.idx, the index of an archive that has none of its own (README.md beside this file). */

import { constants } from 'node:fs'
import { type FileHandle, stat } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { isS3 } from '../storage/archive/s3/s3-url.ts'
import { PartialFile, type PartialFileOptions } from '../storage/partial-file.ts'
import { openRaw } from '../storage/raw-file.ts'
import { writeAll } from '../system/write-all.ts'
import { FrameTable } from './frame-table.ts'
import { INDEX_LIMIT } from './index-builder.ts'

const MAGIC = Buffer.from('VMAPINDX', 'latin1')
const VERSION = 1
const HEADER_SIZE = 76
const NO_MAP = Buffer.alloc(0)

export interface Sidecar {
  uuid: Uint8Array
  extents: number
  table: Uint8Array
  /** Null if the archive is not compressed. */
  frames: FrameTable | null
}

/** Tells whether a file is still the one that was indexed. */
interface Identity {
  size: bigint
  mtime: bigint
}

function sidecarPath(archive: string): string {
  return `${archive}.idx`
}

async function identityOf(archive: string): Promise<Identity> {
  if (isS3(archive)) return (await import('../storage/archive/s3/whole-object.ts')).objectIdentity(archive)
  const { size, mtimeNs } = await stat(archive, { bigint: true })
  return { size, mtime: mtimeNs }
}

/** Writes the sidecar durably and returns its path. Throws FAILED if it exists, unless `force` is given. */
export async function writeSidecar(archive: string, sidecar: Sidecar, options: PartialFileOptions): Promise<string> {
  const path = sidecarPath(archive)
  const { size, mtime } = await identityOf(archive)
  const { map } = sidecar.frames ?? {}
  const mapBytes = map === undefined ? NO_MAP : await map.read(0, map.size)
  const header = Buffer.alloc(HEADER_SIZE)
  MAGIC.copy(header)
  header.writeUInt32BE(VERSION, 8)
  header.set(sidecar.uuid, 12)
  header.writeBigUInt64BE(size, 28)
  header.writeBigInt64BE(mtime, 36)
  header.writeBigUInt64BE(BigInt(sidecar.extents), 44)
  header.writeBigUInt64BE(BigInt(sidecar.table.length), 52)
  header.writeBigUInt64BE(BigInt(mapBytes.length), 60)
  header.writeUInt32BE(crc32(mapBytes, crc32(sidecar.table)), 68)
  header.writeUInt32BE(crc32(header.subarray(0, 72)), 72)
  if (isS3(path)) {
    const { writeObject } = await import('../storage/archive/s3/whole-object.ts')
    await writeObject(path, [header, sidecar.table, mapBytes], options)
    return path
  }
  const file = await PartialFile.create(path, options)
  try {
    await writeAll(file.handle, [header, sidecar.table, mapBytes], 0)
    await file.publish()
  } catch (error) {
    throw asVmapipeError(error, { file: path })
  } finally {
    await file.close()
  }
  return path
}

/** Reads the sidecar; null if there is none. Throws DAMAGED if it is wrong, or if the archive has changed since it was made. */
export async function readSidecar(archive: string): Promise<Sidecar | null> {
  const path = sidecarPath(archive)
  if (isS3(path)) return readSidecarObject(path, archive)
  // Over ssh an archive's own index is read, or else its headers.
  if (path.startsWith('ssh:')) return null
  const file = await openIfFile(path).catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
  if (file === null) return null
  try {
    const { size } = await file.stat()
    if (size < HEADER_SIZE || size > INDEX_LIMIT) throw wrong('is no index')
    return await decodeSidecar(await file.readFile(), await identityOf(archive))
  } catch (error) {
    throw asVmapipeError(error, { file: path })
  } finally {
    await file.close()
  }
}

/** The same of an object in a store. */
async function readSidecarObject(path: string, archive: string): Promise<Sidecar | null> {
  const { readObject } = await import('../storage/archive/s3/whole-object.ts')
  const bytes = await readObject(path, INDEX_LIMIT)
  return bytes === null ? null : decodeSidecar(bytes, await identityOf(archive))
}

/** Opens a file; null if there is none. A FIFO, a folder, a socket or a device of that name is no index and is not opened. */
async function openIfFile(path: string): Promise<FileHandle | null> {
  const stats = await stat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (stats === null) return null
  if (!stats.isFile()) throw wrong('is no index')
  const { file } = await openRaw(path, constants.O_RDONLY)
  return file
}

async function decodeSidecar(bytes: Buffer, { size, mtime }: Identity): Promise<Sidecar> {
  const header = bytes.subarray(0, HEADER_SIZE)
  if (header.length < HEADER_SIZE || !header.subarray(0, 8).equals(MAGIC)) throw wrong('is no index')
  if (header.readUInt32BE(8) !== VERSION) throw wrong('is of a version that is not known')
  if (header.readUInt32BE(72) !== crc32(header.subarray(0, 72))) throw wrong('is damaged')
  const tableBytes = Number(header.readBigUInt64BE(52))
  const mapBytes = Number(header.readBigUInt64BE(60))
  const body = bytes.subarray(HEADER_SIZE)
  if (tableBytes + mapBytes !== body.length || header.readUInt32BE(68) !== crc32(body)) throw wrong('is damaged')
  if (header.readBigUInt64BE(28) !== size || header.readBigInt64BE(36) !== mtime)
    throw wrong('is out of date: the archive has changed since it was made')
  return {
    uuid: header.subarray(12, 28),
    extents: Number(header.readBigUInt64BE(44)),
    table: body.subarray(0, tableBytes),
    frames: mapBytes === 0 ? null : await FrameTable.inMemory(body.subarray(tableBytes), Number(size)),
  }
}

function wrong(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the index ${what}`)
}
