/** Folders to write into. */

import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { VmapipeError } from '../core/errors.ts'

/**
 * Makes the folder and those above it where they are missing; returns those that were made, the innermost first. Node's
 * own recursive mkdir never returns where the kernel says ENOENT inside a folder that exists, as it does in /proc.
 */
export async function makeFolder(path: string): Promise<string[]> {
  const made: string[] = []
  const missing: string[] = []
  for (let folder = resolve(path); !(await isThere(folder)); folder = dirname(folder)) missing.push(folder)
  for (const folder of missing.reverse()) {
    try {
      await mkdir(folder)
      made.unshift(folder)
    } catch (error) {
      // Somebody else may have been faster.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
  return made
}

/** The same, and the folders outlive a power cut. */
export async function makeDurableFolder(path: string): Promise<void> {
  for (const folder of await makeFolder(path)) await syncFolder(dirname(folder))
}

async function isThere(folder: string): Promise<boolean> {
  const found = await stat(folder).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (found !== null && !found.isDirectory()) throw new VmapipeError('USAGE', 'it is not a folder', { file: folder })
  return found !== null
}

/** So that a name in it outlives a power cut too. Some filesystems have no such thing. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } catch (error) {
    if (!['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code!)) throw error
  } finally {
    await folder.close()
  }
}
