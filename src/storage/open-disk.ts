/** Opens a disk by its name (spec.ts). */

import { abortSignal, checkOptions, flag, type Shape } from '../core/options.ts'
import type { Disk } from './disk.ts'
import { openNbdDisk } from './disks/nbd-disk.ts'
import { openRawDisk } from './disks/raw-disk.ts'
import { openImageDisk } from './image-drive.ts'
import { parseDriveSpec } from './spec.ts'

/** How a disk is opened. */
export interface DiskOptions {
  /** Refuses writes; false by default. */
  readOnly?: boolean
  /** Aborts the opening, and later an NBD connection. */
  signal?: AbortSignal
}

const shape = { readOnly: flag, signal: abortSignal } satisfies Shape<DiskOptions>

/**
 * Opens a disk to read and to write: a raw image, a block device, `qcow2:PATH`, an NBD URI. Errors: USAGE, FAILED, ABORTED.
 * The disk exists. Throws FAILED if another program writes to it, as far as the system can tell.
 *
 *     const disk = await openDisk('disk.raw', { readOnly: true })
 *     const sector = Buffer.alloc(512)
 *     await disk.read(sector, 0)
 *     await disk.close()
 */
export async function openDisk(spec: string, options: DiskOptions = {}): Promise<Disk> {
  checkOptions('openDisk', { shape }, options)
  const { readOnly, signal } = options
  signal?.throwIfAborted()
  const drive = parseDriveSpec(spec)
  if (drive.kind === 'raw') return openRawDisk(drive.path, { readOnly })
  if (drive.kind === 'nbd') return openNbdDisk(drive.address, { readOnly, signal })
  return openImageDisk(drive.format, drive.path, { readOnly, signal })
}
