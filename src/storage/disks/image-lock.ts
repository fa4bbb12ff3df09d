/**
 * A lock that keeps a second writer away from an image, ours or QEMU's: the same bytes that QEMU locks, by
 * "Image locking" of its documentation. Byte 100 + n is held by whoever does n, byte 200 + n by whoever bears nobody else
 * that does n. The locks belong to the open file and end with it.
 */

import { VmapipeError } from '../../core/errors.ts'
import { syscalls } from '../syscalls.ts'

const DOES = 100
const FORBIDS = 200

/** QEMU's permissions, of which these count here. */
const CONSISTENT_READ = 0
const WRITE = 1
const RESIZE = 3

/** Throws where somebody else has the image. Where the filesystem or the system has no such locks nothing is locked. */
export function lockImage(fd: number, path: string, readOnly: boolean): void {
  const calls = syscalls()
  if (!calls) return
  const does = readOnly ? [CONSISTENT_READ] : [CONSISTENT_READ, WRITE]
  const forbids = [WRITE, RESIZE]
  // First all locks, then the look at the others': of two that come at once at least one sees the other.
  const bytes = [...does.map((n) => DOES + n), ...forbids.map((n) => FORBIDS + n)]
  if (bytes.some((byte) => calls.lockByte(fd, byte) < 0)) return
  const against = [...does.map((n) => FORBIDS + n), ...forbids.map((n) => DOES + n)]
  if (!against.some((byte) => calls.isByteLocked(fd, byte) === true)) return
  throw new VmapipeError('USAGE', 'the image is in use by another program', {
    file: path,
    hint: 'a running guest, or a second server? end that one first',
  })
}
