/** Raw image files and block devices to read. Both are read as they are: nothing in them is taken for a format. */

import { constants, fstatSync, readFileSync, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { pathOf } from '../core/byte-text.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { SEEK_END, SEEK_SET, syscalls } from '../system/syscalls.ts'
import { checkBounds } from './bounds.ts'
import type { DriveExtent, DriveReader } from './drive.ts'
import { lockImage } from './guard/image-lock.ts'
import { fileExtents } from './holes.ts'
import { noteReading } from './in-use.ts'

export class RawReader implements DriveReader {
  readonly size: number
  readonly #path: string
  readonly #file: FileHandle
  readonly #hasHoles: boolean
  readonly #release: () => void

  constructor(path: string, file: FileHandle, size: number, stats: Stats) {
    this.#path = path
    this.#file = file
    this.size = size
    this.#hasHoles = stats.isFile()
    this.#release = noteReading(stats)
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    checkBounds(this.size, offset, length)
    if (length === 0) return
    if (!this.#hasHoles) {
      yield { offset, length, zero: false }
      return
    }
    try {
      yield* fileExtents(this.#file.fd, offset, length)
    } catch (error) {
      throw this.#explain(error)
    }
    if (offset + length === this.size) await this.#checkSize()
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    const length = buffer.byteLength
    checkBounds(this.size, offset, length)
    let done = 0
    while (done < length) {
      const position = offset + done
      const { bytesRead } = await this.#file.read(buffer, done, length - done, position).catch((error) => {
        throw this.#explain(error, position)
      })
      if (bytesRead === 0)
        throw this.#explain(new VmapipeError('FAILED', 'the file ends here, it has shrunk'), position)
      done += bytesRead
    }
    if (offset + length === this.size) await this.#checkSize()
  }

  /** Waits for calls in flight; the kernel has them already. */
  async close(): Promise<void> {
    this.#release()
    await this.#file.close()
  }

  /** At the end of the file: one that has grown meanwhile is written to by somebody, and what was read is of no one time. */
  async #checkSize(): Promise<void> {
    if (!this.#hasHoles) return
    const { size } = await this.#file.stat()
    if (size <= this.size) return
    const hint = 'somebody writes to it: back up a running guest through its QEMU, or when it is off'
    throw new VmapipeError('FAILED', `the file has grown to ${size} bytes`, {
      file: this.#path,
      offset: this.size,
      hint,
    })
  }

  #explain(error: unknown, offset?: number): VmapipeError {
    if (!(error instanceof VmapipeError)) return asVmapipeError(error, { file: this.#path, offset })
    const { code, message, where } = error
    return new VmapipeError(code, message, { offset, ...where, file: this.#path, cause: error.cause })
  }
}

export interface SharedReading {
  /** The image is read although somebody else has it open for writing: what is read may be torn. */
  forceShare?: boolean | undefined
}

export async function openRawReader(path: string, { forceShare = false }: SharedReading = {}): Promise<RawReader> {
  const { file, stats } = await openRaw(path, constants.O_RDONLY)
  try {
    if (!forceShare) await lockImage(file, path, 'read')
    const size = stats.isFile() ? stats.size : deviceSize(path, file)
    return new RawReader(path, file, size, stats)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Opens what exists and is a file or a block device; anything else (a FIFO would block, a directory) is refused. */
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

/** sysfs(5): /sys/dev/block/MAJOR:MINOR/size, in sectors of 512 bytes whatever the device has. Without system calls of our own. */
function sizeInSysfs(file: FileHandle): number {
  try {
    const { rdev } = fstatSync(file.fd)
    const [major, minor] = [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)]
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'latin1')) * 512
  } catch {
    return -1
  }
}

/** Bytes of a block device, whose position is at its start afterwards. */
export function deviceSize(path: string, file: FileHandle): number {
  const calls = syscalls()
  const size = calls?.lseek(file.fd, 0, SEEK_END) ?? sizeInSysfs(file)
  calls?.lseek(file.fd, 0, SEEK_SET)
  if (size >= 0) return size
  throw new VmapipeError('FAILED', 'the size of this block device cannot be found out', { file: path })
}
