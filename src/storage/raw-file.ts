/** Opens raw image files and block devices. They are read as they are: nothing in them is taken for a format. */

import { constants, fstatSync, readFileSync, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { pathOf } from '../core/byte-text.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { SEEK_END, SEEK_SET, syscalls } from '../system/syscalls.ts'

/** Opens an existing file or block device. Refuses anything else, such as a directory or a FIFO, which would block. */
export async function openRaw(path: string, flags: number): Promise<{ file: FileHandle; stats: Stats }> {
  let file: FileHandle
  try {
    file = await open(pathOf(path), flags | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw asVmapipeError(error, { hint: code === 'EBUSY' ? 'is the device mounted?' : undefined })
  }
  const stats = await file.stat()
  if (stats.isFile() || stats.isBlockDevice()) return { file, stats }
  await file.close()
  throw new VmapipeError('USAGE', `'${path}' is neither a file nor a block device`, { file: path })
}

/** The size of a file or block device in bytes. The position of a device is at its start afterwards. */
export function sizeOf(path: string, file: FileHandle, stats: Stats): number {
  if (stats.isFile()) return stats.size
  const calls = syscalls()
  const size = calls?.lseek(file.fd, 0, SEEK_END) ?? sizeInSysfs(file)
  calls?.lseek(file.fd, 0, SEEK_SET)
  if (size >= 0) return size
  throw new VmapipeError('FAILED', 'the size of this block device cannot be found out', { file: path })
}

/** The fallback without lseek: /sys/dev/block/MAJOR:MINOR/size of sysfs(5), which always counts sectors of 512 bytes. */
function sizeInSysfs(file: FileHandle): number {
  try {
    const { rdev } = fstatSync(file.fd)
    const [major, minor] = [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)]
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'latin1')) * 512
  } catch {
    return -1
  }
}
