/** The files of an overlay: `PATH`, sparse and as large as the drive, its map `PATH-map`, and `PATH-recent`. */

import { constants, type Stats } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { OWNERS_ALONE } from '../../file-mode.ts'
import { refuseShared } from '../../folder.ts'
import { lockImage } from '../../guard/image-lock.ts'
import { PartialFile } from '../../partial-file.ts'
import { openRawDisk } from '../raw-disk.ts'
import { MapFile, type OverlayIdentity } from './map-file.ts'
import type { OverlayFiles } from './overlay-disk.ts'
import { OverlayMap } from './overlay-map.ts'

function mapPath(path: string): string {
  return `${path}-map`
}

function recentPath(path: string): string {
  return `${path}-recent`
}

/**
 * Opens the overlay at `path`, or makes a new one for its owner only. Throws if the overlay there is damaged, of another drive, or in
 * use.
 */
export async function openOverlay(path: string, identity: OverlayIdentity): Promise<OverlayFiles> {
  const paths = [path, mapPath(path), recentPath(path)]
  await refuseShared(dirname(path), paths, 'name another folder')
  const stats = await lookAt(path)
  const isNew = (await lookAt(mapPath(path))) === null
  if (isNew) await makeBlocks(path, stats, identity.size)
  else checkBlocks(path, stats, identity.size)
  // The lock of the blocks keeps other programs from the maps too.
  const blocks = await openRawDisk(path)
  try {
    if (isNew) await makeMap(path, identity)
    return { blocks, map: await OverlayMap.open(mapPath(path), recentPath(path), identity) }
  } catch (error) {
    await blocks.close()
    throw asVmapipeError(error, { file: path })
  }
}

async function lookAt(path: string): Promise<Stats | null> {
  return lstat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw asVmapipeError(error, { file: path })
  })
}

/** Makes the file of the blocks. If a run was killed before it made the map, the file is empty and is used. */
async function makeBlocks(path: string, existing: Stats | null, size: number): Promise<void> {
  if (existing !== null && !(existing.isFile() && existing.blocks === 0)) {
    throw new VmapipeError('USAGE', `'${path}' exists, and has no map that says what is in it`, {
      file: path,
      hint: 'remove it, or name another folder',
    })
  }
  const isNew = existing === null ? constants.O_CREAT | constants.O_EXCL : 0
  const flags = constants.O_RDWR | constants.O_NOFOLLOW | isNew
  const file = await open(path, flags, OWNERS_ALONE)
  try {
    await lockImage(file, path, 'write')
    await file.chmod(OWNERS_ALONE).catch(() => {})
    await file.truncate(size)
    await file.sync()
  } catch (error) {
    throw asVmapipeError(error, { file: path, hint: `the drive has ${size} bytes` })
  } finally {
    await file.close()
  }
}

function checkBlocks(path: string, stats: Stats | null, size: number): void {
  if (stats?.isFile() && stats.size === size) return
  const what = stats === null ? 'is not there, but its map is' : `has ${stats.size} bytes, and the drive ${size}`
  throw new VmapipeError('DAMAGED', `this overlay's file ${what}`, { file: path, hint: 'name another folder' })
}

async function makeMap(path: string, identity: OverlayIdentity): Promise<void> {
  const partial = await PartialFile.create(mapPath(path))
  try {
    await new MapFile(partial.path, partial.handle).create(identity)
    await partial.publish()
  } finally {
    await partial.close()
  }
}
