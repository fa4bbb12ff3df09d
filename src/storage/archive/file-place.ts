/** A folder as a place where archives are. */

import type { Stats } from 'node:fs'
import { opendir, rm, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { syncFolder } from '../folder.ts'
import { renameToNew } from '../rename-file.ts'
import type { Place, PlaceEntry } from './place.ts'
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
    list: () => list(dirname(path)),
    remove: () => rm(path, { force: true }),
    rename: (name) => giveName(path, join(dirname(path), name)),
  }
}

async function look(path: string): Promise<PlaceEntry | null> {
  const stats = await stat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw asVmapipeError(error, { file: path })
  })
  return stats?.isFile() ? entryOf(path, stats) : null
}

async function* list(folder: string): AsyncGenerator<PlaceEntry> {
  for await (const { name } of await opendir(folder)) {
    const entry = await look(join(folder, name))
    if (entry !== null) yield entry
  }
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
