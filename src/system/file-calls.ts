/**
 * System calls about files and their names that Node does not offer: flock(2), renameat2(2), syncfs(2). Linux only: null on
 * other systems and if koffi cannot be loaded. Each runs in libuv's pool, as a filesystem may be slow. Results are 0 or -errno.
 */

import { constants } from 'node:os'
import { inPool, type Library, loadLibc } from './koffi.ts'
import { native } from './native.ts'

/** flock(2). */
const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4

/** fcntl(2). */
const AT_FDCWD = -100
/** rename(2). */
const RENAME_NOREPLACE = 1

interface FileCalls {
  /** Takes an exclusive lock for this open file; -EAGAIN if another open file has one. */
  flock(fd: number): Promise<number>
  /** Takes a lock that others may have too, but not together with an exclusive one; -EAGAIN if another open file has that. */
  flockShared(fd: number): Promise<number>
  /** Renames without replacing: -EEXIST if the name is taken. -EINVAL if the filesystem cannot do that. */
  renameNew(from: string, to: string): Promise<number>
  /** Makes the whole filesystem of this open file durable. */
  syncfs(fd: number): Promise<number>
}

export const { EAGAIN, EEXIST } = constants.errno

export const fileCalls = native(load)

function load(): FileCalls {
  const libc = loadLibc()
  const flock = libc.func('int flock(int, int)')
  const syncfs = libc.func('int syncfs(int)')
  return {
    flock: (fd) => inPool(flock, [fd, LOCK_EX | LOCK_NB]),
    flockShared: (fd) => inPool(flock, [fd, LOCK_SH | LOCK_NB]),
    renameNew: renameNewBy(libc),
    syncfs: (fd) => inPool(syncfs, [fd]),
  }
}

/** glibc has renameat2 since 2.28, musl since 1.2.5. */
function renameNewBy(libc: Library): FileCalls['renameNew'] {
  try {
    const renameat2 = libc.func('int renameat2(int, const char *, int, const char *, unsigned int)')
    return (from, to) => inPool(renameat2, [AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE])
  } catch {
    return async () => -constants.errno.ENOSYS
  }
}
