/**
 * Which files and devices this process reads, so that nothing replaces or overwrites one of them meanwhile: an archive
 * onto a drive that goes into it, a drive onto the archive that it comes out of. Told by device and inode, as one file
 * has many names.
 */

import type { Stats } from 'node:fs'
import { VmapipeError } from '../core/errors.ts'

const readers = new Map<string, number>()

function identity(stats: Stats): string {
  return stats.isBlockDevice() ? `device ${stats.rdev}` : `${stats.dev}:${stats.ino}`
}

/** From now on it is being read; calling what this returns ends that. */
export function noteReading(stats: Stats): () => void {
  const id = identity(stats)
  readers.set(id, (readers.get(id) ?? 0) + 1)
  let noted = true
  return () => {
    if (!noted) return
    noted = false
    const left = readers.get(id)! - 1
    if (left === 0) readers.delete(id)
    else readers.set(id, left)
  }
}

/** Throws USAGE where this very run reads what is about to be written. */
export function refuseIfRead(stats: Stats, file: string): void {
  if (!readers.has(identity(stats))) return
  throw new VmapipeError('USAGE', 'what would be written here is read by this very run', {
    file,
    hint: 'name another target',
  })
}
