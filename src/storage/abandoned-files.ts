/** What killed runs have left in a folder: partial files whose lock nobody holds, whatever they were to become. */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { typableName } from '../core/errors.ts'
import { isSame, lockName, type PartialEntry, removeContent, removeEntry, within } from './partial-entry.ts'
import { lockFile } from './partial-lock.ts'
import { isAttemptAt, parsePartialName, SHARED, UNLOCKED } from './partial-name.ts'

/** One that cannot be judged is told of by a run that writes another file only if nobody has written to it for so long. */
const QUIET_MS = 3_600_000

type Fate = 'removed' | 'running' | 'unknown'

/**
 * Removes what dead runs have left in the folder of `target`, and names what it removes. What another run is writing now
 * is named if it is to become the same file. `ours` is what this run has just made there, and tells whom files there belong to.
 */
export async function removeAbandoned(
  target: string,
  ours: PartialEntry,
  warn: (message: string) => void,
): Promise<void> {
  const folder = dirname(target)
  const { uid } = await ours.file.stat()
  // A folder may be for writing only: then nobody knows what is in it.
  const names = await readdir(folder, { encoding: 'buffer' }).catch(() => [])
  for (const name of names) {
    const partial = parsePartialName(name)
    if (partial === null || name.equals(ours.name)) continue
    const path = within(folder, name)
    const stats = await lstat(path).catch(() => null)
    if (stats === null || !(stats.isFile() || stats.isDirectory())) continue
    const isSameTarget = isAttemptAt(partial, Buffer.from(typableName(basename(target))))
    const judged = partial.place === SHARED || (partial.place === ours.place && ours.place !== UNLOCKED)
    const fate = judged && stats.uid === uid ? await removeDead(path, name, stats).catch(() => 'unknown') : 'unknown'
    if (fate === 'removed') warn(`removed '${path}', left of a run that did not end well`)
    else if (fate === 'running' && isSameTarget) warn(`'${path}' is being written by another run`)
    else if (fate === 'unknown' && (isSameTarget || (stats.uid === uid && Date.now() - stats.mtimeMs > QUIET_MS))) {
      warn(`'${path}' is left of another run, or of one that is still going on; remove it if it is not`)
    }
  }
}

/** Holds its lock while it is removed: a run that has just made it and has not locked it yet then makes another. */
async function removeDead(path: Buffer, name: Buffer, stats: Stats): Promise<Fate> {
  const lockPath = stats.isDirectory() ? within(path, Buffer.from(lockName(name))) : path
  const file = await openExisting(lockPath)
  if (file === null) return stats.isDirectory() ? removeEmpty(path) : 'removed'
  try {
    const outcome = await lockFile(file)
    if (outcome !== 'held') return outcome === 'busy' ? 'running' : 'unknown'
    const [locked, there] = [await file.stat(), await lstat(lockPath)]
    if (!locked.isFile() || !isSame(locked, there)) return 'unknown'
    if (stats.isDirectory()) await removeContent(path, true)
    await unlink(lockPath)
  } finally {
    await file.close()
  }
  if (stats.isDirectory()) await removeEntry(path, true)
  return 'removed'
}

/** Neither a link is followed, nor a FIFO waited for. Writable, as NFS gives such locks only for writing. */
async function openExisting(path: Buffer): Promise<FileHandle | null> {
  return open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

/** A folder without its lock: its run was killed when it had just made it, or while it removed it. */
async function removeEmpty(path: Buffer): Promise<Fate> {
  return rmdir(path).then(
    () => 'removed',
    () => 'unknown',
  )
}
