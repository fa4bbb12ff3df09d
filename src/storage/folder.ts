/** Makes folders to write into, and makes names in them durable. */

import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, stat } from 'node:fs/promises'
import { dirname, normalize } from 'node:path'
import { pathOf } from '../core/byte-text.ts'
import { VmapipeError } from '../core/errors.ts'
import { fileCalls } from '../system/file-calls.ts'
import { refuseAmongDevices } from './guard/dev-folder.ts'

/** By default only the owner may use a folder. */
const OWNERS_ALONE = 0o700

/**
 * Makes the folder and the missing ones above it. Returns those that were made, the innermost first. Node's own recursive mkdir never
 * returns if the kernel reports ENOENT inside a folder that exists, as it does in /proc.
 */
export async function makeFolder(path: string, mode = OWNERS_ALONE): Promise<string[]> {
  // Files in the folder would be among the devices too.
  await refuseAmongDevices(path, path)
  const made: string[] = []
  const missing: string[] = []
  // The path stays relative if it is, because the path of the current folder may not be valid UTF-8.
  for (let folder = normalize(path); !(await isThere(folder)); folder = dirname(folder)) missing.push(folder)
  for (const folder of missing.reverse()) {
    try {
      await mkdir(folder, mode)
      made.unshift(folder)
      await chmod(folder, mode).catch(() => {})
    } catch (error) {
      // Another program may have made it meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
  return made
}

/** The same, and the folders survive a power failure. */
export async function makeDurableFolder(path: string, mode = OWNERS_ALONE): Promise<string[]> {
  const made = await makeFolder(path, mode)
  for (const folder of made) await syncFolder(dirname(folder), folder)
  return made
}

async function isThere(folder: string): Promise<boolean> {
  const found = await stat(folder).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (found !== null && !found.isDirectory())
    throw new VmapipeError('USAGE', `'${folder}' is not a folder`, { file: folder })
  return found !== null
}

/** Which users may replace files in this folder: only ours, all (`others`), or of each file its owner (`sticky`). */
async function writers(folder: string): Promise<'owner' | 'sticky' | 'others'> {
  const { mode } = await stat(pathOf(folder))
  if ((mode & 0o002) === 0) return 'owner'
  return (mode & 0o1000) === 0 ? 'others' : 'sticky'
}

/**
 * Throws USAGE if other users could replace what we make at these paths of the folder, or have made something there before. `hint`:
 * what to do.
 */
export async function refuseShared(folder: string, paths: readonly string[], hint: string): Promise<void> {
  const who = await writers(folder)
  if (who === 'owner') return
  const us = process.getuid?.()
  if (who === 'others') {
    // Users who share such a folder trust each other. Root must not trust them.
    if (us !== 0) return
    throw new VmapipeError('USAGE', `others may replace what is made in '${folder}'`, {
      file: folder,
      hint: `${hint}, or set its sticky bit (chmod +t)`,
    })
  }
  for (const path of paths) {
    const found = await lstat(pathOf(path)).catch(() => null)
    if (found === null || found.uid === us) continue
    throw new VmapipeError('USAGE', `'${path}' was made by another user, in a folder where everybody may`, {
      file: path,
      hint,
    })
  }
}

/**
 * Makes a name in the folder survive a power failure. `within`: the path of the file with that name. If we may not open the folder,
 * the whole filesystem of this file is synced. Some filesystems cannot sync folders.
 */
export async function syncFolder(path: string, within: string): Promise<void> {
  const folder = await open(path, 'r').catch((error) => {
    if (error.code === 'EACCES') return null
    throw error
  })
  if (folder === null) return syncFilesystem(within)
  try {
    await folder.sync()
  } catch (error) {
    if (!['EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code!)) throw error
  } finally {
    await folder.close()
  }
}

async function syncFilesystem(path: string): Promise<void> {
  const file = await open(pathOf(path), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    await fileCalls()?.syncfs(file.fd)
  } finally {
    await file.close()
  }
}
