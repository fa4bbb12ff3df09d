/** Opens a drive by its name (spec.ts). Modules that most runs do not need are loaded when they are needed. */

import { stat } from 'node:fs/promises'
import { abortSignal, bytes, callback, checkOptions, flag, type Shape } from '../core/options.ts'
import type { DriveReader, DriveWriter } from './drive.ts'
import type { PartialFileOptions } from './partial-file.ts'
import { createRawFile, openDeviceWriter, openRawReader, type SharedReading } from './raw-drive.ts'
import { parseDriveSpec } from './spec.ts'

interface OpenOptions {
  /** Aborts the opening, and later all that is in flight. */
  signal?: AbortSignal
}

/** How a drive is opened to read. */
export type ReaderOptions = OpenOptions & SharedReading

/** How a drive is opened to write. */
export interface WriterOptions extends OpenOptions, PartialFileOptions {
  /** Bytes of the drive. A new file gets this size; a target that exists must have it or more. */
  size: number
  /** The user knows that an existing target reads as zeroes already. */
  isZero?: boolean
}

const readerShape = { signal: abortSignal, forceShare: flag } satisfies Shape<ReaderOptions>

const writerShape = {
  signal: abortSignal,
  force: flag,
  mode: bytes,
  warn: callback,
  size: bytes,
  isZero: flag,
} satisfies Shape<WriterOptions>

/**
 * Opens a drive to read: a raw image, a block device, `qcow2:PATH`, an NBD URI. Errors: USAGE, FAILED, ABORTED.
 *
 *     const drive = await openDriveReader('qcow2:disk.qcow2')
 *     const sector = Buffer.alloc(512)
 *     await drive.read(sector, 0)
 *     await drive.close()
 */
export async function openDriveReader(spec: string, options: ReaderOptions = {}): Promise<DriveReader> {
  checkOptions('openDriveReader', { shape: readerShape }, options)
  const { signal, forceShare } = options
  signal?.throwIfAborted()
  const drive = parseDriveSpec(spec)
  if (drive.kind === 'raw') return openRawReader(drive.path, { forceShare })
  if (drive.kind === 'nbd') return (await nbdDrives()).openNbdReader(drive.address, { signal, forceShare })
  return (await imageDrives()).openImageReader(drive.format, drive.path, { signal, forceShare })
}

/**
 * Opens a drive to write. A file gets its name by `publish`. Errors: USAGE, FAILED, ABORTED.
 *
 *     const drive = await openDriveWriter('disk.raw', { size: 1 << 30 })
 *     await drive.write([Buffer.alloc(512, 1)], 0)
 *     await drive.flush()
 *     await drive.publish()
 *     await drive.close()
 */
export async function openDriveWriter(spec: string, options: WriterOptions): Promise<DriveWriter> {
  checkOptions('openDriveWriter', { shape: writerShape, required: ['size'] }, options)
  const { signal, size, isZero = false } = options
  signal?.throwIfAborted()
  const drive = parseDriveSpec(spec)
  if (drive.kind === 'raw') {
    const isDevice = (await stat(drive.path).catch(() => null))?.isBlockDevice() ?? false
    return isDevice ? openDeviceWriter(drive.path, size, isZero, options) : createRawFile(drive.path, size, options)
  }
  if (drive.kind === 'nbd') return (await nbdDrives()).openNbdWriter(drive.address, size, isZero, { signal })
  return (await imageDrives()).createImage(drive.format, drive.path, size, options)
}

const nbdDrives = () => import('./nbd-drive.ts')
const imageDrives = () => import('./image-drive.ts')
