/** Opens a disk by its name (spec.ts). */

import { abortSignal, checkOptions, flag, type Shape } from '../core/options.ts'
import type { Disk } from './disk.ts'
import { openNbdDisk } from './disks/nbd-disk.ts'
import { openRawDisk } from './disks/raw-disk.ts'
import { openImageDisk } from './image-drive.ts'
import { parseDriveSpec } from './spec.ts'

export interface DiskOptions {
  readOnly?: boolean
  /** Aborts the opening, and later an NBD connection. */
  signal?: AbortSignal
}

const shape = { readOnly: flag, signal: abortSignal } satisfies Shape<DiskOptions>

/** Opens an existing disk. Throws FAILED if another program writes to it, as far as the system can tell. */
export async function openDisk(spec: string, options: DiskOptions = {}): Promise<Disk> {
  checkOptions('openDisk', { shape }, options)
  const { readOnly, signal } = options
  signal?.throwIfAborted()
  const drive = parseDriveSpec(spec)
  if (drive.kind === 'raw') return openRawDisk(drive.path, { readOnly })
  if (drive.kind === 'nbd') return openNbdDisk(drive.address, { readOnly, signal })
  return openImageDisk(drive.format, drive.path, { readOnly, signal })
}
