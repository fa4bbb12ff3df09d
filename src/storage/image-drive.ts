/**
 * Images of QEMU's formats as drives, by way of a qemu-nbd of our own.
 *
 * An image may name other files: a qcow2's backing file or data file, a VMDK's extents. They are read as by every QEMU
 * tool, because a linked clone is nothing without its base. So an image of unknown origin can make its reader read
 * any file that it may open: such an image is to be looked at with `qemu-img info` first.
 */

import type { Stats } from 'node:fs'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { DriveReader, DriveWriter } from './drive.ts'
import { noteReading } from './in-use.ts'
import { NbdReader, NbdWriter } from './nbd-drive.ts'
import { PartialFile, type PartialFileOptions } from './partial-file.ts'
import { fileName, QemuNbd, requireProgram, runTool } from './qemu-nbd.ts'
import { openRaw, type SharedReading } from './raw-reader.ts'
import { checkTargetSize } from './raw-writer.ts'
import type { ImageFormat } from './spec.ts'

class ImageReader extends NbdReader {
  readonly #server: QemuNbd
  readonly #release: () => void

  constructor(server: QemuNbd, stats: Stats) {
    super(server.client)
    this.#server = server
    this.#release = noteReading(stats)
  }

  override async close(): Promise<void> {
    this.#release()
    await this.#server.close()
  }
}

class ImageWriter extends NbdWriter {
  readonly #server: QemuNbd
  readonly #partial: PartialFile

  constructor(server: QemuNbd, size: number, partial: PartialFile) {
    super(server.client, size, true)
    this.#server = server
    this.#partial = partial
  }

  /** A format may write its last tables when it is closed, so qemu-nbd must have ended first. */
  override async publish(suffix?: string): Promise<string> {
    await this.#server.finish()
    await this.#partial.handle.sync()
    return this.#partial.publish(suffix)
  }

  override async close(): Promise<void> {
    try {
      await this.#server.close()
    } finally {
      await this.#partial.close()
    }
  }
}

export async function openImageReader(
  format: ImageFormat,
  path: string,
  options: SharedReading & { signal?: AbortSignal } = {},
): Promise<DriveReader> {
  // What is not there, or not a file, gets the same clear error as a raw image does.
  const { file, stats } = await openRaw(path, 0)
  await file.close()
  return new ImageReader(await QemuNbd.start(format, path, options), stats)
}

/** A new image for a drive of `size` bytes; formats that count in larger units make it a little larger. */
export async function createImage(
  format: ImageFormat,
  path: string,
  size: number,
  { signal, ...options }: PartialFileOptions & { signal?: AbortSignal } = {},
): Promise<DriveWriter> {
  requireProgram('qemu-nbd')
  const partial = await PartialFile.create(path, options, { inFolder: true })
  let server: QemuNbd | undefined
  try {
    // Otherwise a VHD's size is rounded to cylinders.
    const exact = format === 'vpc' ? ['-o', 'force_size=on'] : []
    await runTool(
      'qemu-img',
      ['create', '-q', '-f', format, ...exact, '--', fileName(partial.path), String(size)],
      signal,
    )
    server = await QemuNbd.start(format, partial.path, { writable: true, signal })
    checkTargetSize(path, server.client.size, size)
    return new ImageWriter(server, size, partial)
  } catch (error) {
    await server?.close()
    await partial.close()
    const { code, message, hint, cause } = asVmapipeError(error)
    throw new VmapipeError(code, message, { file: path, hint, cause })
  }
}
