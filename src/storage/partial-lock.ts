/**
 * The sign of life of a run that writes a file: an exclusive flock(2) on it. The kernel drops the lock with the process, however
 * that ends, and it holds across containers and PID namespaces, in which process numbers and host names mean nothing.
 *
 * Who sees such a lock depends on the filesystem, and a name of a partial file says which it is (partial-name.ts). On a disk
 * of this machine everybody does. On FUSE, NFS and others a lock may be known to one mount alone: only this mount, until the
 * system restarts, tells by it that a run is dead.
 */

import { once } from 'node:events'
import { type FileHandle, readFile, stat, statfs } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { findProgram, spawnTied } from '../system/child.ts'
import { EAGAIN, fileCalls } from '../system/file-calls.ts'
import { SHARED, UNLOCKED } from './partial-name.ts'

/** statfs(2), "f_type" of filesystems on disks (and in the memory) of this machine alone. */
export const LOCAL_FILESYSTEMS: Record<string, number> = {
  ext4: 0xef53,
  xfs: 0x58465342,
  btrfs: 0x9123683e,
  tmpfs: 0x01021994,
  vfat: 0x4d44,
  exfat: 0x2011bab0,
  f2fs: 0xf2f52010,
  zfs: 0x2fc12fc1,
  bcachefs: 0xca451a4e,
  ntfs3: 0x7366746e,
  // What the system of a container is on.
  overlay: 0x794c7630,
}

const local = new Set(Object.values(LOCAL_FILESYSTEMS))

/** `busy` if another run has the lock, `none` if there are no locks here. */
type LockOutcome = 'held' | 'busy' | 'none'

/** Locks the open file until it is closed. */
export async function lockFile(file: FileHandle): Promise<LockOutcome> {
  const calls = fileCalls()
  if (calls === null) return lockByProgram(file)
  const outcome = await calls.flock(file.fd)
  if (outcome === 0) return 'held'
  return outcome === -EAGAIN ? 'busy' : 'none'
}

/** flock(1) locks the open file that it is given, and the lock stays with that file when the program has ended. */
async function lockByProgram(file: FileHandle): Promise<LockOutcome> {
  const program = findProgram('flock')
  if (program === undefined) return 'none'
  const child = spawnTied(program, ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] })
  const [code] = await once(child, 'close').catch(() => [null])
  if (code === 0) return 'held'
  return code === 1 ? 'busy' : 'none'
}

/** PLACE of files in this folder. */
export async function placeOf(folder: string): Promise<string> {
  if (process.platform !== 'linux') return UNLOCKED
  const { type } = await statfs(folder)
  if (local.has(type >>> 0)) return SHARED
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => null)
  if (boot === null) return UNLOCKED
  const { dev } = await stat(folder)
  const place = crc32(`${boot.trim()} ${dev}`).toString(16).padStart(8, '0')
  return place === SHARED ? UNLOCKED : place
}
