/**
 * Images of QEMU's formats as drives and as disks. A qemu-nbd of our own serves them.
 *
 * An image may name other files: a qcow2's backing file or data file, a VMDK's extents. They are read as by every QEMU
 * tool, because a linked clone is nothing without its base. So an image of unknown origin can make its reader read
 * any file that it may open: look at such an image with `qemu-img info` first.
 */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { noteReading } from './being-read.ts'
import type { Disk } from './disk.ts'
import { checkTargetSize, DiskWriter } from './disk-writer.ts'
import { NbdDisk } from './disks/nbd-disk.ts'
import type { DriveReader, DriveWriter } from './drive.ts'
import { PartialFile, type PartialFileOptions } from './partial-file.ts'
import { fileName, QemuNbd, requireProgram, runTool } from './qemu-nbd.ts'
import type { SharedReading } from './raw-drive.ts'
import { openRaw } from './raw-file.ts'
import type { ImageFormat } from './spec.ts'

export async function openImageReader(
  format: ImageFormat,
  path: string,
  options: SharedReading & { signal?: AbortSignal } = {},
): Promise<DriveReader> {
  const stats = await statImage(path)
  const server = await QemuNbd.start(format, path, options)
  const release = noteReading(stats)
  const close = async () => {
    release()
    await server.close()
  }
  return new NbdDisk(server.client, { readOnly: true, close })
}

/**
 * Opens what a block node of QEMU reads: images with those below them, or a kind of network storage. `format` and `path` are those of
 * the uppermost image, for messages. Nothing but what the node names is opened.
 */
export async function openNodeReader(
  node: object,
  { format, path, signal }: { format: ImageFormat | 'raw'; path: string; signal?: AbortSignal | undefined },
): Promise<DriveReader> {
  const server = await QemuNbd.start(format, path, { node, signal })
  return new NbdDisk(server.client, { readOnly: true, close: () => server.close() })
}

interface ImageDiskOptions {
  readOnly?: boolean
  signal?: AbortSignal
}

/** Opens an image for a running guest. */
export async function openImageDisk(
  format: ImageFormat,
  path: string,
  { readOnly = false, signal }: ImageDiskOptions = {},
): Promise<Disk> {
  await statImage(path)
  const server = await QemuNbd.start(format, path, { writable: !readOnly, lasting: true, signal })
  // qemu-nbd writes the format's last tables when it ends.
  return new NbdDisk(server.client, { readOnly, close: () => server.finish() })
}

/** Creates an image for a drive of `size` bytes. Formats that count in larger units make it a little larger. */
export async function createImage(
  format: ImageFormat,
  path: string,
  size: number,
  { signal, ...options }: PartialFileOptions & { signal?: AbortSignal } = {},
): Promise<DriveWriter> {
  requireProgram('qemu-nbd')
  const partial = await PartialFile.create(path, options, { inFolder: true })
  let server: QemuNbd | undefined
  const close = async () => {
    try {
      await server?.close()
    } finally {
      await partial.close()
    }
  }
  try {
    // Otherwise a VHD's size is rounded to cylinders.
    const exact = format === 'vpc' ? ['-o', 'force_size=on'] : []
    await runTool(
      'qemu-img',
      ['create', '-q', '-f', format, ...exact, '--', fileName(partial.path), String(size)],
      signal,
    )
    const started = await QemuNbd.start(format, partial.path, { writable: true, signal })
    server = started
    checkTargetSize(path, started.client.size, size)
    const publish = async (suffix?: string) => {
      // A format may write its last tables when it is closed, so qemu-nbd must have ended first.
      await started.finish()
      return partial.publish(suffix)
    }
    return new DiskWriter(new NbdDisk(started.client, { close }), { size, isZero: true, publish })
  } catch (error) {
    await close()
    const { code, message, hint, cause } = asVmapipeError(error)
    throw new VmapipeError(code, message, { file: path, hint, cause })
  }
}

/** Gives a file that does not exist, or is no file, the same clear error as a raw image. */
async function statImage(path: string) {
  const { file, stats } = await openRaw(path, 0)
  await file.close()
  return stats
}
