/**
 * Locks of disk images, QEMU's and ours: we lock the same bytes as QEMU ("Image locking" of its documentation). A process that does n
 * locks byte 100 + n, and one that forbids others to do n locks byte 200 + n. A lock belongs to the open file and ends with it. So we
 * do not read an image that a guest writes to, and no guest starts on an image that we read or write.
 */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { pathOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { EACCES, EAGAIN, type Syscalls, syscalls } from '../../system/syscalls.ts'
import { holdersOf, isLockedBySomebody } from './lock-holders.ts'
import { backingFile, loopDevicesOf } from './loop-devices.ts'

const DOES = 100
const FORBIDS = 200

/** The permissions of QEMU that count here. */
const CONSISTENT_READ = 0
const WRITE = 1
const RESIZE = 3
const ALL = [0, 1, 2, 3]

/** `overwrite`: the content is lost, so it is also forbidden by readers that would allow a writer. */
export type ImageUse = 'read' | 'write' | 'overwrite'

/**
 * Locks the image for reading or writing, until the file is closed. Throws FAILED if another program uses it in a way that forbids
 * this. Does nothing if the system or the filesystem has no such locks.
 */
export async function lockImage(file: FileHandle, path: string, use: ImageUse): Promise<void> {
  const calls = syscalls()
  const stats = await file.stat()
  // Checks first, so that our locks do not disturb a guest that has the image.
  const outcome =
    calls === null ? 'unknown' : isForbidden(calls, file.fd, use) ? 'forbidden' : lock(calls, file.fd, use)
  if (outcome === 'forbidden' || (outcome === 'unknown' && isLockedBySomebody(stats, opposing(use)))) {
    throw await imageInUse(stats, path, use)
  }
  await refuseIfUsedByLoop(stats, path, use)
}

/**
 * Locks a file that is about to be replaced or removed. Throws FAILED if it is in use as an image, even if only for reading: it may be
 * the base of a guest's image. No guest starts on it until the handle is closed. Null if there is no such file.
 */
export async function holdUnused(path: string): Promise<FileHandle | null> {
  const stats = await stat(pathOf(path)).catch(() => null)
  if (!stats?.isFile()) return null
  const file = await open(pathOf(path), constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
  if (file === null) {
    // This user may not read it.
    if (isLockedBySomebody(stats, opposing('overwrite'))) throw await imageInUse(stats, path, 'overwrite')
    return null
  }
  try {
    await lockImage(file, path, 'overwrite')
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Throws FAILED if the open file is in use as an image. It need not be open for reading. */
export async function refuseImageInUse(fd: number, stats: Stats, path: string): Promise<void> {
  const calls = syscalls()
  const isUsed = calls === null ? isLockedBySomebody(stats, opposing('overwrite')) : isForbidden(calls, fd, 'overwrite')
  if (isUsed) throw await imageInUse(stats, path, 'overwrite')
}

function lock(calls: Syscalls, fd: number, use: ImageUse): 'held' | 'forbidden' | 'unknown' {
  // Takes all locks before it checks those of others. So if two processes come at once, at least one sees the other.
  for (const byte of [...doing(use).map((n) => DOES + n), ...FORBIDDEN.map((n) => FORBIDS + n)]) {
    const outcome = calls.lockByte(fd, byte)
    if (outcome === -EAGAIN || outcome === -EACCES) return 'forbidden'
    if (outcome < 0) return 'unknown'
  }
  return isForbidden(calls, fd, use) ? 'forbidden' : 'held'
}

function isForbidden(calls: Syscalls, fd: number, use: ImageUse): boolean {
  return opposing(use).some((byte) => calls.isByteLocked(fd, byte) === true)
}

/** The permissions that we forbid to others. Readers forbid writing, because what they read must not change; so does `qemu-img convert`. */
const FORBIDDEN = [WRITE, RESIZE]

function doing(use: ImageUse): number[] {
  return use === 'read' ? [CONSISTENT_READ] : [CONSISTENT_READ, WRITE]
}

/** The bytes that others must not have locked. */
function opposing(use: ImageUse): number[] {
  if (use === 'overwrite') return ALL.flatMap((n) => [DOES + n, FORBIDS + n])
  return [...doing(use).map((n) => FORBIDS + n), ...FORBIDDEN.map((n) => DOES + n)]
}

/** Checks the file of a loop device, and the loop devices of a file: they are the same image, but have locks of their own. */
async function refuseIfUsedByLoop(stats: Stats, path: string, use: ImageUse): Promise<void> {
  const devices = await loopDevicesOf(stats)
  if (use !== 'read' && devices.length > 0) {
    throw new VmapipeError('FAILED', `the image is in use: ${devices[0]} is a loop device of it`, {
      file: path,
      hint: `losetup -d ${devices[0]} detaches it`,
    })
  }
  for (const other of [await backingFile(stats), ...devices]) {
    const found = other === null ? null : await stat(other).catch(() => null)
    if (found !== null && isLockedBySomebody(found, opposing(use))) throw await imageInUse(found, path, use)
  }
}

/** The error for an image that another program uses. It names the process if that can be found out. */
export async function imageInUse(stats: Stats, path: string, use: ImageUse): Promise<VmapipeError> {
  return new VmapipeError('FAILED', `the image is in use by ${await holdersOf(stats)}`, {
    file: path,
    hint: HINTS[use],
  })
}

const END_FIRST = 'end the guest or the other program first, or name another file'

const HINTS: Record<ImageUse, string> = {
  read:
    'a running guest is backed up with --qmp SOCKET or --libvirt DOMAIN, that of `vmapipe serve` with --attach CONTROL; ' +
    '--force-share reads the image all the same, and what is read may be torn',
  write: END_FIRST,
  overwrite: END_FIRST,
}
