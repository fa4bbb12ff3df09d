/** Removes abandoned files: partial files that killed runs have left in a folder, and that nobody has locked. */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { typableName } from '../core/errors.ts'
import { isSame, lockName, type PartialEntry, removeContent, removeEntry, within } from './partial-entry.ts'
import { lockFile } from './partial-lock.ts'
import { isAttemptAt, parsePartialName, SHARED, UNLOCKED } from './partial-name.ts'

/** If a run cannot tell whether a file for another target is abandoned, it names it only if nobody has written to it for an hour. */
const QUIET_MS = 3_600_000

type Fate = 'removed' | 'running' | 'unknown'

/**
 * Removes and names what dead runs have left in the folder of `target`. Names a file that another run is writing for the same target.
 * `ours`: the entry that this run has just made there. It tells which user owns our files there.
 */
export async function removeAbandoned(
  target: string,
  ours: PartialEntry,
  warn: (message: string) => void,
): Promise<void> {
  const folder = dirname(target)
  const { uid } = await ours.file.stat()
  // If the folder cannot be read, nothing is removed.
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
    if (fate === 'removed') warn(`removed '${path}', left by a run that was killed`)
    else if (fate === 'running' && isSameTarget) warn(`'${path}' is being written by another run`)
    else if (fate === 'unknown' && (isSameTarget || (stats.uid === uid && Date.now() - stats.mtimeMs > QUIET_MS))) {
      warn(`'${path}' was left by another run, or is being written by one; remove it if no run is writing it`)
    }
  }
}

/** Removes the file while its lock is held. If a run has just made it and not locked it yet, that run makes another one. */
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

/** Opens a file without following a link or waiting for a FIFO. For writing, as NFS gives such locks only then. */
async function openExisting(path: Buffer): Promise<FileHandle | null> {
  return open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

/** Removes a folder without its lock file. Its run was killed when it had just made it, or while it removed it. */
async function removeEmpty(path: Buffer): Promise<Fate> {
  return rmdir(path).then(
    () => 'removed',
    () => 'unknown',
  )
}
