/** Finds the volumes of an archive by the name of the first one, and checks that they are all there and belong together. */

import { constants, type Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { pathOf } from '../../../core/byte-text.ts'
import { openRaw } from '../../raw-file.ts'
import { MOST_LIST_BYTES, markOf, parseList, type Volume } from './list.ts'
import { listName, parseVolumeName, volumeName } from './names.ts'
import { unlistedSizes } from './unlisted.ts'
import { foreignVolume, laterVolume, missingVolume, shortVolume } from './wrong-volume.ts'

export interface FoundVolume {
  path: string
  size: number
}

/**
 * The volumes that begin with the one at `path`, or null if there is no list of them: then it is an archive in one file. Throws USAGE for
 * the name of a later volume; INCOMPLETE or DAMAGED with the name of the volume that is missing, short or not of this archive.
 */
export async function findVolumes(path: string): Promise<FoundVolume[] | null> {
  const name = parseVolumeName(path)
  if (name === null) return null
  const { base, number } = name
  const list = await readList(listName(base))
  if (list === null || number >= list.length) return null
  if (number === 0) return byList(base, list)
  throw laterVolume(path, volumeName(base, 0))
}

/** The same, also if there is no list but a second volume, as after split(1). */
export async function findUnlistedVolumes(path: string): Promise<FoundVolume[] | null> {
  const listed = await findVolumes(path)
  const name = parseVolumeName(path)
  if (listed !== null || name === null || name.number > 0) return listed
  return (await isFile(volumeName(name.base, 1))) ? byNames(name.base) : null
}

async function byList(base: string, list: readonly Volume[]): Promise<FoundVolume[]> {
  const found: FoundVolume[] = []
  for (const [number, volume] of list.entries()) {
    const path = volumeName(base, number)
    await check(path, volume)
    found.push({ path, size: volume.size })
  }
  return found
}

async function check(path: string, { size, mark }: Volume): Promise<void> {
  const { file, stats } = await openVolume(path)
  try {
    if (stats.size < size) throw shortVolume(path, stats.size, size)
    if (stats.size > size || (await markOf(file, size)) !== mark) throw foreignVolume(path)
  } finally {
    await file.close()
  }
}

async function openVolume(path: string) {
  try {
    return await openRaw(path, constants.O_RDONLY)
  } catch (error) {
    throw (await sizeOf(path)) === null ? missingVolume(path) : error
  }
}

async function byNames(base: string): Promise<FoundVolume[]> {
  const names = await readdir(dirname(base))
  const there = new Map<number, number>()
  for (const name of names.map(parseVolumeName)) {
    const size = name?.base === basename(base) ? await sizeOf(volumeName(base, name.number)) : null
    if (name !== null && size !== null) there.set(name.number, size)
  }
  const nameOf = (number: number) => volumeName(base, number)
  return unlistedSizes(there, nameOf).map((size, number) => ({ path: nameOf(number), size }))
}

/** The list in this file, of which a bounded part is read; null if there is no such file. */
export async function readList(file: string): Promise<Volume[] | null> {
  if (!(await isFile(file))) return null
  const { file: handle } = await openRaw(file, constants.O_RDONLY)
  try {
    const buffer = Buffer.alloc(MOST_LIST_BYTES)
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
    return parseList(buffer.toString('latin1', 0, bytesRead), file)
  } finally {
    await handle.close()
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await statOf(path))?.isFile() ?? false
}

async function sizeOf(path: string): Promise<number | null> {
  const found = await statOf(path)
  return found?.isFile() ? found.size : null
}

function statOf(path: string): Promise<Stats | null> {
  return stat(pathOf(path)).catch(() => null)
}
