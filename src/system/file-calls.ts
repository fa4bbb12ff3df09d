/**
 * System calls about files and their names that Node does not offer, by way of koffi: flock(2), renameat2(2), syncfs(2).
 * Linux only; null everywhere else, and if koffi cannot be loaded. Each runs in libuv's pool, as a filesystem may take its
 * time; results are 0 or -errno.
 */

import { constants } from 'node:os'
import { type Koffi, loadKoffi } from './koffi.ts'
import { native } from './native.ts'

/** flock(2). */
const LOCK_EX = 2
const LOCK_NB = 4

/** fcntl(2). */
const AT_FDCWD = -100
/** rename(2). */
const RENAME_NOREPLACE = 1

export interface FileCalls {
  /** An exclusive lock of this open file, or -EAGAIN if another open file has one. */
  flock(fd: number): Promise<number>
  /** Renames, and replaces nothing: -EEXIST then. -EINVAL if the filesystem cannot do that. */
  renameNew(from: string, to: string): Promise<number>
  /** Makes all of the filesystem durable that this open file is in. */
  syncfs(fd: number): Promise<number>
}

export const { EAGAIN, EEXIST } = constants.errno

export const fileCalls = native(load)

/** Set by `load`: nothing here runs before it. */
let koffi: Koffi

function load(): FileCalls {
  if (process.platform !== 'linux') throw new Error('Linux only')
  koffi = loadKoffi()
  const libc = koffi.load(null)
  const flock = libc.func('int flock(int, int)')
  const syncfs = libc.func('int syncfs(int)')
  return {
    flock: (fd) => inPool(flock, [fd, LOCK_EX | LOCK_NB]),
    renameNew: renameNewBy(libc),
    syncfs: (fd) => inPool(syncfs, [fd]),
  }
}

/** Since glibc 2.28 and musl 1.2.5. */
function renameNewBy(libc: ReturnType<Koffi['load']>): FileCalls['renameNew'] {
  try {
    const renameat2 = libc.func('int renameat2(int, const char *, int, const char *, unsigned int)')
    return (from, to) => inPool(renameat2, [AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE])
  } catch {
    return async () => -constants.errno.ENOSYS
  }
}

type NativeFunction = ReturnType<ReturnType<Koffi['load']>['func']>

/** The errno of the pool's thread stays there, so a call that failed is made once more here to learn it: they fail fast. */
function inPool(call: NativeFunction, args: unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error: Error | null, value: number) => {
      if (error) reject(error)
      else if (value >= 0) resolve(0)
      else resolve(call(...args) < 0 ? -koffi.errno() : 0)
    })
  })
}
