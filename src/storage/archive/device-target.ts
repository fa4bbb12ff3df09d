/** Writes an archive in place: to a device (a block device, a tape, /dev/null), or to a file that is standard output. */

import { constants, fstat, fsync } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { asVmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { descriptorFile, writeAll } from '../../system/write-all.ts'
import { refuseIfRead } from '../being-read.ts'
import { openDevice } from '../guard/block-device.ts'
import { refuseImageInUse } from '../guard/image-lock.ts'
import { type ArchiveTarget, FILE_DEPTH, type TargetOptions } from './endpoint.ts'

export class DeviceTarget implements ArchiveTarget {
  readonly #path: string
  readonly #force: boolean
  #file: FileHandle | null = null
  /** A tape knows no offsets. */
  #hasOffsets = false
  #position = 0

  constructor(path: string, { force = false }: TargetOptions) {
    this.#path = path
    this.#force = force
  }

  async open(): Promise<void> {
    const found = await stat(this.#path)
    if (found.isBlockDevice()) {
      this.#file = (await openDevice(this.#path, { force: this.#force })).file
      this.#hasOffsets = true
      return
    }
    refuseIfRead(found, this.#path)
    this.#file = await open(this.#path, constants.O_WRONLY)
  }

  get depth(): number {
    return this.#hasOffsets ? FILE_DEPTH : 1
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const position = this.#position
    this.#position += totalLength(buffers)
    try {
      await writeAll(this.#file!, buffers, this.#hasOffsets ? position : null)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path, offset: position })
    }
  }

  async finish(): Promise<void> {
    await syncWhatCan(this.#file!.fd)
    await this.abort()
  }

  async abort(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }
}

/** A file that another program has opened and will close: `vmapipe ... -o - > file`. */
export class OpenFileTarget implements ArchiveTarget {
  readonly #fd: number
  readonly #name: string
  #position = 0

  constructor(fd: number, name: string) {
    this.#fd = fd
    this.#name = name
  }

  async open(): Promise<void> {
    const stats = await promisify(fstat)(this.#fd)
    refuseIfRead(stats, this.#name)
    await refuseImageInUse(this.#fd, stats, this.#name)
  }

  /** Writes at the file's own position: a redirection with >> or an earlier writer has moved it. */
  async write(buffers: readonly Uint8Array[]): Promise<void> {
    try {
      await writeAll(descriptorFile(this.#fd), buffers, null)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#name, offset: this.#position })
    }
    this.#position += totalLength(buffers)
  }

  finish(): Promise<void> {
    return syncWhatCan(this.#fd)
  }

  async abort(): Promise<void> {}
}

/** A character device has nothing to sync and says EINVAL. */
async function syncWhatCan(fd: number): Promise<void> {
  try {
    await promisify(fsync)(fd)
  } catch (error) {
    if (!['EINVAL', 'ENOTSUP', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
