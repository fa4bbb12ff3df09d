/** Raw targets: a new image file, which appears under its name when it is complete, or a block device, which is there. */

import type { FileHandle } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { writeAll } from '../system/write-all.ts'
import { checkBounds } from './bounds.ts'
import type { DriveWriter } from './drive.ts'
import { type DeviceOptions, openDevice } from './guard/block-device.ts'
import { lockImage } from './guard/image-lock.ts'
import { PartialFile, type PartialFileOptions } from './partial-file.ts'
import { zeroRange } from './zeroing.ts'

class RawWriter implements DriveWriter {
  readonly size: number
  readonly isZero: boolean
  readonly #path: string
  readonly #file: FileHandle
  readonly #partial: PartialFile | null

  /** Without a partial file it is a block device. */
  constructor(path: string, file: FileHandle, size: number, isZero: boolean, partial: PartialFile | null) {
    this.#path = path
    this.#file = file
    this.size = size
    this.isZero = isZero
    this.#partial = partial
  }

  async write(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    let length = 0
    for (const buffer of buffers) length += buffer.byteLength
    checkBounds(this.size, offset, length)
    if (length > 0) await this.#do(() => writeAll(this.#file, buffers, offset), offset)
  }

  async zero(offset: number, length: number): Promise<void> {
    checkBounds(this.size, offset, length)
    await this.#do(() => zeroRange(this.#file, this.#partial === null, offset, length), offset)
  }

  async flush(): Promise<void> {
    await this.#do(() => this.#file.sync())
  }

  async publish(suffix?: string): Promise<string | null> {
    return (await this.#partial?.publish(suffix)) ?? null
  }

  async close(): Promise<void> {
    await (this.#partial ?? this.#file).close()
  }

  async #do(work: () => Promise<void>, offset?: number): Promise<void> {
    try {
      await work()
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path, offset })
    }
  }
}

/** A new, sparse file of `size` bytes. */
export async function createRawFile(path: string, size: number, options?: PartialFileOptions): Promise<DriveWriter> {
  const partial = await PartialFile.create(path, options)
  try {
    await lockImage(partial.handle, path, 'write')
    await partial.handle.truncate(size)
    return new RawWriter(path, partial.handle, size, true, partial)
  } catch (error) {
    await partial.close()
    throw asVmapipeError(error, { file: path, hint: `the drive has ${size} bytes` })
  }
}

/** A block device of at least `size` bytes that nothing else uses; what lies past `size` is left alone. */
export async function openDeviceWriter(
  path: string,
  size: number,
  isZero: boolean,
  options?: DeviceOptions,
): Promise<DriveWriter> {
  const { file, size: available } = await openDevice(path, options)
  try {
    checkTargetSize(path, available, size)
    return new RawWriter(path, file, size, isZero, null)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** A target that existed before may be larger than the drive, not smaller. */
export function checkTargetSize(file: string, available: number, size: number): void {
  if (available >= size) return
  throw new VmapipeError('USAGE', `the target has ${available} bytes, the drive ${size}`, {
    file,
    hint: 'a larger target will do',
  })
}
