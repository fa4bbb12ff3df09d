/** Lists and extracts files of a guest's filesystems in an archive, by libguestfs. */

import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { VmapipeError } from '../core/errors.ts'
import { checkOptions, type Shape, text } from '../core/options.ts'
import { socketFolder } from '../storage/socket-folder.ts'
import { exportArchive } from './export.ts'
import { type FileEntry, type FileItem, plainPath } from './files/entry.ts'
import { chooseFilesystem, type Filesystem, findFilesystems } from './files/filesystems.ts'
import { FishReader } from './files/fish-reader.ts'
import { Guestfish } from './files/guestfish.ts'
import { type Extracted, extractInto } from './files/to-folder.ts'
import { type Packed, packInto } from './files/to-tar.ts'
import { quickManifest } from './quick-manifest.ts'
import { type RandomReadingOptions, randomReadingShape } from './random-reading.ts'

/** Which archive is looked into. */
export interface FilesOptions extends RandomReadingOptions {
  /** Which filesystem: `drive-scsi0:1`, `drive-scsi0` if it has but one, `lvm:vg/root`. */
  filesystem?: string
}

const shape = {
  ...randomReadingShape,
  filesystem: text,
} satisfies Shape<FilesOptions>

/**
 * The filesystems of an archive. Errors: USAGE, FAILED (libguestfs is missing or cannot start), DAMAGED, INCOMPLETE, ABORTED.
 *
 *     for (const { name, type } of await filesystems({ from: 'vm.vma.zst' })) console.log(name, type)
 */
export function filesystems(options: FilesOptions): Promise<Filesystem[]> {
  return withGuestfish('filesystems', options, async (fish, drives) => findFilesystems(fish, drives))
}

/**
 * The files of a folder, or the file itself, for each path; with `recursive` all that is below. Errors as of `filesystems`; FAILED for a path
 * that is not there.
 *
 *     for (const { path, size } of await listFiles({ from: 'vm.vma.zst', filesystem: 'drive-scsi0:1' }, ['/etc'])) console.log(path, size)
 */
export async function listFiles(
  options: FilesOptions,
  paths: readonly string[],
  { recursive = false } = {},
): Promise<FileEntry[]> {
  const plain = plainPaths(paths)
  return withReader('listFiles', options, async (reader) => {
    const found: FileEntry[] = []
    for (const entry of await entriesAt(reader, plain)) {
      if (entry.type === 'folder') found.push(...(await reader.list(entry.path, { recursive })))
      else found.push(entry)
    }
    return found
  })
}

/**
 * Extracts files, and folders with all that is in them, into a new folder. It has its name only when all is there. Nothing is written outside
 * of it, whatever the guest has called its files. Errors as of `listFiles`; USAGE if the folder has something in it.
 *
 *     const { files, leftOut } = await extractFiles({ from: 'vm.vma.zst', warn: console.warn }, ['/etc', '/home/ann'], 'found')
 *     console.log(files, 'files;', leftOut, 'left out')
 */
export async function extractFiles(options: FilesOptions, paths: readonly string[], into: string): Promise<Extracted> {
  const plain = plainPaths(paths)
  return withReader('extractFiles', options, async (reader) => {
    return extractInto(into, itemsOf(reader, await entriesAt(reader, plain)), options.warn ?? (() => {}))
  })
}

/**
 * The same as a tar stream, with owners, permissions and symlinks as the guest has them. Resolves when `to` has taken all of it; it is not
 * ended.
 *
 *     const { files } = await packFiles({ from: 'vm.vma.zst' }, ['/etc'], process.stdout)
 */
export async function packFiles(options: FilesOptions, paths: readonly string[], to: Writable): Promise<Packed> {
  const plain = plainPaths(paths)
  return withReader('packFiles', options, async (reader) => {
    return packInto(to, itemsOf(reader, await entriesAt(reader, plain)), options.warn ?? (() => {}))
  })
}

/** The paths from the root. Throws USAGE for one that leads out of it, and for one that is within another. */
function plainPaths(paths: readonly string[]): string[] {
  const plain = paths.map((path) => {
    const found = plainPath(path)
    if (found === null) throw new VmapipeError('USAGE', `'${path}' leads out of the filesystem`)
    return found
  })
  const twice = plain.find((path, index) => plain.some((other, at) => at !== index && isWithin(path, other)))
  if (twice !== undefined)
    throw new VmapipeError('USAGE', `'/${twice}' is named twice, or is in another of the folders`)
  return plain
}

/** Throws FAILED for a path that is not there. */
export async function entriesAt(reader: FishReader, paths: readonly string[]): Promise<FileEntry[]> {
  const entries: FileEntry[] = []
  for (const path of paths) {
    const entry = await reader.entry(path)
    if (entry === null) throw new VmapipeError('FAILED', `there is no '/${path}' in this filesystem`)
    entries.push(entry)
  }
  return entries
}

function isWithin(path: string, folder: string): boolean {
  return folder === '' || path === folder || path.startsWith(`${folder}/`)
}

async function* itemsOf(reader: FishReader, entries: readonly FileEntry[]): AsyncGenerator<FileItem> {
  for (const entry of entries) yield* reader.items(entry)
}

function withReader<T>(operation: string, options: FilesOptions, work: (reader: FishReader) => Promise<T>): Promise<T> {
  return withGuestfish(operation, options, async (fish, drives, folder) => {
    const all = await findFilesystems(fish, drives)
    const filesystem = chooseFilesystem(all, options.filesystem ?? drives[0])
    return work(await FishReader.open(fish, filesystem, folder))
  })
}

/** Serves the drives to a guestfish. `drives` are in the order in which it has them; `folder` is private, and goes with it. */
export async function withGuestfish<T>(
  operation: string,
  options: FilesOptions,
  work: (fish: Guestfish, drives: readonly string[], folder: string) => Promise<T>,
): Promise<T> {
  checkOptions(operation, { shape, required: ['from'] }, options)
  const { from, filesystem, signal, keys, warn, ...how } = options
  if (from === '-')
    throw new VmapipeError('USAGE', 'files are read in any order, and standard input is not', {
      hint: 'save the archive in a file first',
    })
  const failures: string[] = []
  const note = (message: string) => {
    if (/^read of /.test(message)) failures.push(message)
    warn?.(message)
  }
  const { drives: all } = await quickManifest({ from, ...(keys && { keys }), signal: signal ?? NEVER })
  const drives = drivesOf(
    all.map(({ name }) => name),
    filesystem,
  )
  const folder = await socketFolder()
  try {
    const socket = join(folder.path, 'nbd')
    const exports = await exportArchive({
      ...how,
      from,
      drives,
      socket,
      warn: note,
      ...(keys && { keys }),
      ...(signal && { signal }),
    })
    await exports.start()
    try {
      const fish = await Guestfish.start({ socket, exports: drives, signal })
      try {
        return await work(fish, drives, folder.path)
      } finally {
        await fish.close()
      }
    } finally {
      await exports.stop()
    }
  } catch (error) {
    if (signal?.aborted) throw new VmapipeError('ABORTED', 'aborted', { cause: error })
    if (failures.length === 0) throw error
    throw new VmapipeError('DAMAGED', failures[0], { cause: error })
  } finally {
    await folder.remove()
  }
}

const NEVER = new AbortController().signal

/** The drives that have to be there: all of them, or the one that is named. The memory of the guest has no files. */
function drivesOf(all: readonly string[], filesystem: string | undefined): string[] {
  const drives = all.filter((name) => name !== 'vmstate')
  if (drives.length === 0) throw new VmapipeError('USAGE', 'the archive has no drives')
  if (filesystem === undefined || /^(lvm|md):/.test(filesystem)) return drives
  const named = drives.filter((name) => filesystem === name || filesystem.startsWith(`${name}:`))
  const longest = named.toSorted((a, b) => b.length - a.length)[0]
  if (longest !== undefined) return [longest]
  throw new VmapipeError('USAGE', `the archive has no drive '${filesystem}'`, { hint: `it has ${drives.join(', ')}` })
}
