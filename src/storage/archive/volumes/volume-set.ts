/** Finds the volumes of an archive by the name of the first one, and checks that they are all there and belong together. */

import { constants, type Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { pathOf } from '../../../core/byte-text.ts'
import { VmapipeError } from '../../../core/errors.ts'
import { openRaw } from '../../raw-file.ts'
import { MOST_LIST_BYTES, markOf, parseList, type Volume } from './list.ts'
import { listName, parseVolumeName, volumeName } from './names.ts'

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
  throw new VmapipeError('USAGE', `'${path}' is one of several volumes`, {
    hint: `name the first, '${volumeName(base, 0)}'`,
  })
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
    if (stats.size < size) {
      throw new VmapipeError('INCOMPLETE', `volume '${path}' is short: it has ${stats.size} bytes of ${size}`, {
        file: path,
      })
    }
    if (stats.size > size || (await markOf(file, size)) !== mark) {
      throw new VmapipeError('DAMAGED', `volume '${path}' is not the one that was written`, {
        file: path,
        hint: 'it is in the place of another volume, of another archive, or damaged',
      })
    }
  } finally {
    await file.close()
  }
}

async function openVolume(path: string) {
  try {
    return await openRaw(path, constants.O_RDONLY)
  } catch (error) {
    throw (await sizeOf(path)) === null ? missing(path) : error
  }
}

/** All volumes have one size but the last, which may have less, and no number is left out. */
async function byNames(base: string): Promise<FoundVolume[]> {
  const names = await readdir(dirname(base))
  const numbers = names.map(parseVolumeName).flatMap((name) => (name?.base === basename(base) ? [name.number] : []))
  const found: FoundVolume[] = []
  for (let number = 0; number <= Math.max(...numbers); number++) {
    const path = volumeName(base, number)
    const size = await sizeOf(path)
    if (size === null) throw missing(path)
    found.push({ path, size })
  }
  const [first, ...others] = found
  const odd = others.find(({ size }, index) => (index < others.length - 1 ? size !== first.size : size > first.size))
  if (odd === undefined) return found
  throw new VmapipeError('DAMAGED', `volume '${odd.path}' has ${odd.size} bytes, the first has ${first.size}`, {
    file: odd.path,
    hint: 'it is short, or of another archive',
  })
}

function missing(path: string): VmapipeError {
  return new VmapipeError('INCOMPLETE', `volume '${path}' is missing`, { file: path })
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
