/** A drive writer is a disk, and a publish that gives what was written its final name. */

import { VmapipeError } from '../core/errors.ts'
import { totalLength } from '../core/items.ts'
import type { Disk } from './disk.ts'
import { checkBounds, type DriveWriter } from './drive.ts'

interface DiskWriterOptions {
  /** Bytes of the drive. The disk may be larger; what is past `size` is left alone. */
  size: number
  /** The disk reads as zeroes where nothing was written. */
  isZero: boolean
  /** By default there is nothing to publish: the target existed before. */
  publish?: DriveWriter['publish']
}

export class DiskWriter implements DriveWriter {
  readonly size: number
  readonly isZero: boolean
  readonly #disk: Disk
  readonly #publish: DriveWriter['publish']

  constructor(disk: Disk, { size, isZero, publish = async () => null }: DiskWriterOptions) {
    this.#disk = disk
    this.size = size
    this.isZero = isZero
    this.#publish = publish
  }

  async write(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    checkBounds(this.size, offset, totalLength(buffers))
    await this.#disk.write(buffers, offset)
  }

  async zero(offset: number, length: number): Promise<void> {
    checkBounds(this.size, offset, length)
    await this.#disk.zero(offset, length)
  }

  async flush(): Promise<void> {
    await this.#disk.flush()
  }

  publish(suffix?: string): Promise<string | null> {
    return this.#publish(suffix)
  }

  close(): Promise<void> {
    return this.#disk.close()
  }
}

/** Throws USAGE if a target that existed before is smaller than the drive. */
export function checkTargetSize(file: string, available: number, size: number): void {
  if (available >= size) return
  throw new VmapipeError('USAGE', `the target has ${available} bytes, the drive ${size}`, {
    file,
    hint: 'name a larger target',
  })
}
