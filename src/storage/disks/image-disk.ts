/** An image of one of QEMU's formats as a disk, by way of a qemu-nbd of our own; see image-drive.ts. */

import type { Disk } from '../disk.ts'
import { QemuNbd } from '../qemu-nbd.ts'
import { openRaw } from '../raw-reader.ts'
import type { ImageFormat } from '../spec.ts'
import { NbdDisk } from './nbd-disk.ts'

class ImageDisk extends NbdDisk {
  readonly #server: QemuNbd

  constructor(server: QemuNbd, readOnly: boolean) {
    super(server.client, readOnly)
    this.#server = server
  }

  /** qemu-nbd writes the format's last tables when it ends. */
  override close(): Promise<void> {
    return this.#server.finish()
  }
}

export interface ImageDiskOptions {
  readOnly?: boolean
  signal?: AbortSignal
}

export async function openImageDisk(
  format: ImageFormat,
  path: string,
  { readOnly = false, signal }: ImageDiskOptions = {},
): Promise<Disk> {
  // What is not there, or not a file, gets the same clear error as a raw image does.
  const { file } = await openRaw(path, 0)
  await file.close()
  return new ImageDisk(await QemuNbd.start(format, path, { writable: !readOnly, lasting: true, signal }), readOnly)
}
