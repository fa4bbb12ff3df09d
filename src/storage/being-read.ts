/**
 * Notes which files and devices this process reads, so that it does not overwrite one of them meanwhile: such as an archive that is
 * written onto a drive that goes into it. They are told apart by device and inode, as a file may have many names.
 */

import type { Stats } from 'node:fs'
import { VmapipeError } from '../core/errors.ts'

const readers = new Map<string, number>()

function identity(stats: Stats): string {
  return stats.isBlockDevice() ? `device ${stats.rdev}` : `${stats.dev}:${stats.ino}`
}

/** Notes that the file is being read, until the returned function is called. */
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

/** Throws USAGE if this process reads the file that is about to be written. */
export function refuseIfRead(stats: Stats, file: string): void {
  if (!readers.has(identity(stats))) return
  throw new VmapipeError('USAGE', 'what would be written here is read by this very run', {
    file,
    hint: 'name another target',
  })
}
