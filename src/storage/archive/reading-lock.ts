/**
 * While an archive is read, its file has a shared flock(2). A run that removes archives takes an exclusive one first. So an archive
 * stays while a restore reads it, and a parent stays until the backup that is made against it has its name. The kernel drops the locks
 * of a process that ends.
 */

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { pathOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { EAGAIN, fileCalls } from '../../system/file-calls.ts'
import { lockFile } from '../partial-lock.ts'

/** O_NONBLOCK: opening a FIFO does not wait for its writer. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * Milliseconds that a file is open before it is locked. Compiled code is needed for a lock, and a short read should not wait for it: what
 * is open can be read to its end also if its name is gone.
 */
const SHORT_READ_MS = 500

/** Locks the archive if it is read for longer, until the returned function is called. Never fails. */
export function lockIfLong(path: string): () => void {
  let held: FileHandle | null = null
  let isOver = false
  const lock = async () => {
    try {
      const file = await locked(path)
      if (isOver) await file.close()
      else held = file
    } catch (error) {
      // A run that only looks whether it is in use has it for a moment.
      if (!isOver && error instanceof VmapipeError) wait()
    }
  }
  let timer: NodeJS.Timeout
  const wait = () => {
    timer = setTimeout(lock, SHORT_READ_MS).unref()
  }
  wait()
  return () => {
    isOver = true
    clearTimeout(timer)
    void held?.close().catch(() => {})
  }
}

/**
 * Locks an archive that must not be removed meanwhile. Returns a function that ends it. Throws FAILED if it is gone, or is being removed.
 * On a filesystem without locks, nothing is locked.
 */
export async function lockForUse(path: string): Promise<() => Promise<void>> {
  const file = await locked(path)
  return () => file.close()
}

async function locked(path: string): Promise<FileHandle> {
  const file = await open(pathOf(path), FLAGS)
  try {
    const outcome = await fileCalls()?.flockShared(file.fd)
    const { nlink } = await file.stat()
    if (outcome === -EAGAIN || nlink === 0) {
      throw new VmapipeError('FAILED', `'${path}' is being removed by another run`, { file: path })
    }
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** An archive that nobody reads, as long as it is held. */
export interface Unread {
  release(): Promise<void>
}

/** Holds an archive's file so that nobody begins to read it under a lock; null if it is in use. Throws FAILED if it is gone. */
export async function holdUnread(path: string): Promise<Unread | null> {
  // NFS gives an exclusive lock only for a file that is open for writing.
  const file = await open(pathOf(path), constants.O_RDWR | constants.O_NONBLOCK).catch((error) => {
    if (error.code !== 'EACCES' && error.code !== 'EPERM' && error.code !== 'EROFS') throw error
    return open(pathOf(path), FLAGS)
  })
  const outcome = await lockFile(file).catch(() => 'none' as const)
  if (outcome !== 'busy') return { release: () => file.close() }
  await file.close()
  return null
}
