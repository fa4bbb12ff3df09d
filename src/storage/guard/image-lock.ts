/**
 * Locks of disk images, QEMU's and ours: the same bytes that QEMU locks, by "Image locking" of its documentation. Byte
 * 100 + n is held by whoever does n, byte 200 + n by whoever forbids others to do n. A lock belongs to the open file and
 * ends with it. So nobody reads what a guest writes to, and no guest starts on what is read or written here.
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

/** QEMU's permissions, of which these count here. */
const CONSISTENT_READ = 0
const WRITE = 1
const RESIZE = 3
const ALL = [0, 1, 2, 3]

/** `overwrite`: what is there is lost, so that readers count that would bear a writer. */
export type ImageUse = 'read' | 'write' | 'overwrite'

/**
 * From now on, and until the file is closed, the image is known to be read or written. Throws FAILED if somebody else's
 * use of it forbids that. If the system or the filesystem has no such locks, none is taken.
 */
export async function lockImage(file: FileHandle, path: string, use: ImageUse): Promise<void> {
  const calls = syscalls()
  const stats = await file.stat()
  // The look before spares a guest that has the image our locks: they could get in the way of its own.
  const outcome =
    calls === null ? 'unknown' : isForbidden(calls, file.fd, use) ? 'forbidden' : lock(calls, file.fd, use)
  if (outcome === 'forbidden' || (outcome === 'unknown' && isLockedBySomebody(stats, opposing(use)))) {
    throw await imageInUse(stats, path, use)
  }
  await refuseIfUsedByLoop(stats, path, use)
}

/**
 * Of a file that is about to be replaced or removed: throws FAILED if it is in use as an image, for reading too (it may be the base of
 * a guest's image). Until the handle is closed no guest starts on it. Null if there is no such file.
 */
export async function holdUnused(path: string): Promise<FileHandle | null> {
  const stats = await stat(pathOf(path)).catch(() => null)
  if (!stats?.isFile()) return null
  const file = await open(pathOf(path), constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
  if (file === null) {
    // One that this user may not read.
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

/** Throws FAILED if the open file, which need not be readable, is in use as an image. */
export async function refuseImageInUse(fd: number, stats: Stats, path: string): Promise<void> {
  const calls = syscalls()
  const isUsed = calls === null ? isLockedBySomebody(stats, opposing('overwrite')) : isForbidden(calls, fd, 'overwrite')
  if (isUsed) throw await imageInUse(stats, path, 'overwrite')
}

function lock(calls: Syscalls, fd: number, use: ImageUse): 'held' | 'forbidden' | 'unknown' {
  // First all locks, then the look at the others': of two that come at once at least one sees the other.
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

/** What is forbidden to others, by readers too: what is read must not change meanwhile. So does `qemu-img convert`. */
const FORBIDDEN = [WRITE, RESIZE]

function doing(use: ImageUse): number[] {
  return use === 'read' ? [CONSISTENT_READ] : [CONSISTENT_READ, WRITE]
}

/** Bytes that nobody else may have locked. */
function opposing(use: ImageUse): number[] {
  if (use === 'overwrite') return ALL.flatMap((n) => [DOES + n, FORBIDS + n])
  return [...doing(use).map((n) => FORBIDS + n), ...FORBIDDEN.map((n) => DOES + n)]
}

/** The file behind a loop device, and loop devices of a file, are the same image with locks of their own. */
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

/** The error for an image that somebody else uses; it says who, if that can be found out. */
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
