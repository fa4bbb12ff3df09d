/** A folder as a place where archives are. */

import type { Stats } from 'node:fs'
import { opendir, rm, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { makeDurableFolder, syncFolder } from '../folder.ts'
import { renameToNew } from '../rename-file.ts'
import type { ListOptions, Place, PlaceEntry } from './place.ts'
import { archiveSource } from './source.ts'
import { archiveTarget } from './target.ts'
import { openArchiveBytes } from './volumes/volume-bytes.ts'

export function filePlace(path: string): Place {
  return {
    can: { noReplace: true, durable: true, serverCopy: false },
    target: (options) => archiveTarget(path, options),
    source: (options) => archiveSource(path, options),
    ranges: (options) => openArchiveBytes(path, options),
    stat: () => look(path),
    list: (options) => list(dirname(path), options),
    makeFolder: () => makeFolderAbove(path),
    remove: () => remove(path),
    rename: (name) => giveName(path, join(dirname(path), name)),
  }
}

/** Who may use the folder that it is made in may use the new one. */
async function makeFolderAbove(path: string): Promise<void> {
  const folder = dirname(path)
  let above = dirname(folder)
  while ((await stat(above).catch(() => null)) === null && above !== dirname(above)) above = dirname(above)
  try {
    const { mode } = await stat(above)
    await makeDurableFolder(folder, mode & 0o777)
  } catch (error) {
    throw asVmapipeError(error, { file: folder })
  }
}

async function look(path: string): Promise<PlaceEntry | null> {
  const stats = await stat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw asVmapipeError(error, { file: path })
  })
  return stats?.isFile() ? entryOf(path, stats) : null
}

/** Files that are looked at at once: enough to keep the threads of libuv's pool busy. */
const AT_ONCE = 64

async function* list(folder: string, { folders = false, signal }: ListOptions = {}): AsyncGenerator<PlaceEntry> {
  for (const names of batches(await namesIn(folder, folders))) {
    signal?.throwIfAborted()
    const entries = await Promise.all(names.map((name) => look(join(folder, name))))
    for (const [index, entry] of entries.entries()) if (entry !== null) yield { ...entry, name: names[index] }
  }
}

async function namesIn(folder: string, withFolders: boolean): Promise<string[]> {
  const names: string[] = []
  const folders: string[] = []
  for await (const entry of await opendir(folder)) {
    if (entry.isDirectory()) folders.push(entry.name)
    else names.push(entry.name)
  }
  if (!withFolders) return names
  for (const inner of folders) {
    if (inner.startsWith('.')) continue
    // A folder may be removed meanwhile, and one that may not be read has no archives of ours.
    const found = await namesIn(join(folder, inner), false).catch((error) => {
      if (error.code === 'ENOENT' || error.code === 'EACCES') return []
      throw error
    })
    for (const name of found) names.push(`${inner}/${name}`)
  }
  return names
}

function* batches(names: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < names.length; at += AT_ONCE) yield names.slice(at, at + AT_ONCE)
}

/** That it is gone outlasts a power failure: of two archives that are removed, the second does not come back without the first. */
async function remove(path: string): Promise<void> {
  await rm(path, { force: true })
  await syncFolder(dirname(path), dirname(path)).catch((error) => {
    if (error.code !== 'ENOENT') throw error
  })
}

async function giveName(from: string, to: string): Promise<void> {
  await renameToNew(from, to).catch((error) => {
    if (error.code !== 'EEXIST') throw asVmapipeError(error, { file: from })
    throw new VmapipeError('FAILED', `'${to}' exists and was not overwritten`, { hint: 'choose another name' })
  })
  await unlink(from).catch((error) => {
    if (error.code !== 'ENOENT') throw error
  })
  await syncFolder(dirname(to), dirname(to))
}

function entryOf(path: string, { size, mtime }: Stats): PlaceEntry {
  return { name: basename(path), size, modified: mtime.toISOString() }
}
