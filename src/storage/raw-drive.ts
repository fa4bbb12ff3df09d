/**
 * Raw drives. A file or a block device can be read. Written is a new image file, which appears under its final name when it is
 * complete, or a block device.
 */

import { constants, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { noteReading } from './being-read.ts'
import { checkTargetSize, DiskWriter } from './disk-writer.ts'
import { RawDisk } from './disks/raw-disk.ts'
import type { DriveExtent, DriveReader, DriveWriter } from './drive.ts'
import { type DeviceOptions, openDevice } from './guard/block-device.ts'
import { lockImage } from './guard/image-lock.ts'
import { PartialFile, type PartialFileOptions } from './partial-file.ts'
import { openRaw, sizeOf } from './raw-file.ts'

/** A disk that nobody writes to. A file that has become longer when its end is read is an error. */
export class RawReader implements DriveReader {
  readonly size: number
  readonly #path: string
  readonly #file: FileHandle
  readonly #disk: RawDisk
  readonly #isDevice: boolean

  constructor(path: string, file: FileHandle, size: number, stats: Stats) {
    this.size = size
    this.#path = path
    this.#file = file
    this.#isDevice = !stats.isFile()
    const release = noteReading(stats)
    const close = async () => {
      release()
      await file.close()
    }
    this.#disk = new RawDisk({ path, file, size, isDevice: this.#isDevice, readOnly: true, atRest: true, close })
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    yield* this.#disk.map(offset, length)
    if (offset + length === this.size) await this.#checkSize()
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    await this.#disk.read(buffer, offset)
    if (offset + buffer.byteLength === this.size) await this.#checkSize()
  }

  close(): Promise<void> {
    return this.#disk.close()
  }

  /** If a file has grown, another program writes to it. What was read is then not of one point in time. */
  async #checkSize(): Promise<void> {
    if (this.#isDevice) return
    const { size } = await this.#file.stat()
    if (size <= this.size) return
    const hint = 'another program writes to it: back up a running guest through its QEMU, or when it is off'
    throw new VmapipeError('FAILED', `the file has grown to ${size} bytes`, {
      file: this.#path,
      offset: this.size,
      hint,
    })
  }
}

export interface SharedReading {
  /** Reads the image although another program has it open for writing. What is read may be torn. */
  forceShare?: boolean | undefined
}

export async function openRawReader(path: string, { forceShare = false }: SharedReading = {}): Promise<RawReader> {
  const { file, stats } = await openRaw(path, constants.O_RDONLY)
  try {
    if (!forceShare) await lockImage(file, path, 'read')
    return new RawReader(path, file, sizeOf(path, file, stats), stats)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Creates a sparse file of `size` bytes. */
export async function createRawFile(path: string, size: number, options?: PartialFileOptions): Promise<DriveWriter> {
  const partial = await PartialFile.create(path, options)
  try {
    const file = partial.handle
    await lockImage(file, path, 'write')
    await file.truncate(size)
    const disk = new RawDisk({ path, file, size, atRest: true, close: () => partial.close() })
    return new DiskWriter(disk, { size, isZero: true, publish: (suffix) => partial.publish(suffix) })
  } catch (error) {
    await partial.close()
    throw asVmapipeError(error, { file: path, hint: `the drive has ${size} bytes` })
  }
}

/** Opens a block device of at least `size` bytes that nothing else uses. What is past `size` is left alone. */
export async function openDeviceWriter(
  path: string,
  size: number,
  isZero: boolean,
  options?: DeviceOptions,
): Promise<DriveWriter> {
  const { file, size: available } = await openDevice(path, options)
  try {
    checkTargetSize(path, available, size)
    const disk = new RawDisk({ path, file, size: available, isDevice: true, atRest: true })
    return new DiskWriter(disk, { size, isZero })
  } catch (error) {
    await file.close()
    throw error
  }
}
