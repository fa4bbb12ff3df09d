/**
 * An exclusive flock(2) on a file that is being written shows that its run is alive. The kernel drops the lock when the process ends,
 * however it ends. The lock is also seen from other containers and PID namespaces, in which process numbers and host names mean
 * nothing.
 *
 * The filesystem decides which processes see the lock, and the name of a partial file tells it (PLACE, partial-name.ts). On a disk of
 * this machine all do. On FUSE, NFS and others perhaps only those of one mount. There a lock is trusted only by runs of the same
 * mount, until the system restarts.
 */

import { once } from 'node:events'
import { type FileHandle, readFile, stat, statfs } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { findProgram, spawnTied } from '../system/child.ts'
import { EAGAIN, fileCalls } from '../system/file-calls.ts'
import { isLocal } from './local-filesystems.ts'
import { SHARED, UNLOCKED } from './partial-name.ts'

/** `busy`: another run has the lock. `none`: this filesystem has no locks. */
type LockOutcome = 'held' | 'busy' | 'none'

/** Locks the open file. The lock ends when the file is closed. */
export async function lockFile(file: FileHandle): Promise<LockOutcome> {
  const calls = fileCalls()
  if (calls === null) return lockByProgram(file)
  const outcome = await calls.flock(file.fd)
  if (outcome === 0) return 'held'
  return outcome === -EAGAIN ? 'busy' : 'none'
}

/** The fallback without system calls: flock(1) locks the open file that it inherits, which stays locked after the program has ended. */
async function lockByProgram(file: FileHandle): Promise<LockOutcome> {
  const program = findProgram('flock')
  if (program === undefined) return 'none'
  const child = spawnTied(program, ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] })
  const [code] = await once(child, 'close').catch(() => [null])
  if (code === 0) return 'held'
  return code === 1 ? 'busy' : 'none'
}

/** The PLACE of files in this folder (partial-name.ts). */
export async function placeOf(folder: string): Promise<string> {
  if (process.platform !== 'linux') return UNLOCKED
  const { type } = await statfs(folder)
  if (isLocal(type)) return SHARED
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => null)
  if (boot === null) return UNLOCKED
  const { dev } = await stat(folder)
  const place = crc32(`${boot.trim()} ${dev}`).toString(16).padStart(8, '0')
  return place === SHARED ? UNLOCKED : place
}
