/** Opens an archive that is a file, as drives that can be read in any order without unpacking them. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { Budget } from '../core/budget.ts'
import type { Counters } from '../core/counters.ts'
import { asVmapipeError } from '../core/errors.ts'
import type { DriveInfo } from '../core/items.ts'
import { formatBytes } from '../core/size.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { openArchiveBytes } from '../storage/archive/volumes/volume-bytes.ts'
import { type Archive, OpenArchive } from './archive.ts'
import { ArchiveDrive } from './archive-drive.ts'
import { readHeader } from './archive-header.ts'
import { decrypted } from './encrypted-bytes.ts'
import { ExtentHeaders } from './extent-headers.ts'
import type { FrameTable } from './frame-table.ts'
import { FramedExtents } from './framed-extents.ts'
import { atOnceIn, FramedStream } from './framed-stream.ts'
import { isCompressed, ownFrames, ownIndex, sidecarIndex, walkedFrames, walkedIndex } from './locate.ts'
import { PieceCache } from './piece-cache.ts'
import { PlainExtents } from './plain-extents.ts'
import { readSidecar, type Sidecar } from './sidecar.ts'

interface OpenFileOptions {
  /** Memory for reading and for the cache, which takes all of it. */
  budget: Budget
  /** Tasks that run at once. */
  threads: number
  /** Aborts the opening. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn: (message: string) => void
  /** What opens the archive if it is encrypted. */
  keys: Keyring
  /** Counts what is read of the archive. */
  counters?: Counters
}

/** Opens the archive of this path. Returns a reason instead if it must be unpacked to be read in any order. */
export async function openFile(path: string, options: OpenFileOptions): Promise<Archive | string> {
  const { capacity } = options.budget
  const sidecar = await sidecarOf(path, options.warn)
  try {
    return await openWith(path, sidecar, options)
  } catch (error) {
    const { code, line } = asVmapipeError(error)
    if (!sidecar || (code !== 'DAMAGED' && code !== 'INCOMPLETE')) throw error
    // The sidecar may be wrong although its checksums are right. The first attempt uses its budget no more, so a new one is used.
    const archive = await openWith(path, null, { ...options, budget: new Budget(capacity) })
    options.warn(`the index beside the archive is not used: ${line}`)
    return archive
  }
}

async function openWith(path: string, sidecar: Sidecar | null, options: OpenFileOptions): Promise<Archive | string> {
  let bytes = await openArchiveBytes(path, options.counters)
  try {
    const file = await decrypted(bytes, options.keys)
    bytes = file
    const table = (await isCompressed(file)) ? await findFrames(file, sidecar, options) : null
    if (typeof table === 'string') {
      await file.close()
      return table
    }
    const frames = table && new FramedStream(file, table, options.budget, options.threads)
    bytes = frames ?? file
    return await openBytes(bytes, frames, sidecar, options)
  } catch (error) {
    await bytes.close()
    const failure = asVmapipeError(error)
    failure.where.file ??= path
    throw failure
  }
}

async function openBytes(
  bytes: ArchiveBytes,
  frames: FramedStream | null,
  sidecar: Sidecar | null,
  { budget, threads, signal, warn }: OpenFileOptions,
): Promise<Archive> {
  const header = await readHeader(bytes)
  const index =
    (await ownIndex(bytes, header, { signal, warn })) ??
    (sidecar && (await sidecarIndex(sidecar, bytes, header, { signal, warn }))) ??
    (await walkedIndex(bytes, header, { signal, warn }))
  const headers = new ExtentHeaders(bytes, index, header.manifest)
  const cache = () => new PieceCache(budget.carve(budget.capacity, 'reading the archive'), threads + 2)
  const data = frames ? new FramedExtents(frames, index) : new PlainExtents(bytes, index, headers, cache())
  const open = (info: DriveInfo) => new ArchiveDrive(info, { index, headers, data })
  return new OpenArchive(header.manifest, open, () => data.close())
}

/** Finds the frames. Returns a reason instead if the archive can only be read from front to back. */
async function findFrames(
  file: ArchiveBytes,
  sidecar: Sidecar | null,
  options: OpenFileOptions,
): Promise<FrameTable | string> {
  const { budget, threads, warn, signal } = options
  const table = (await ownFrames(file, { signal, warn })) ?? sidecar?.frames ?? (await walkedFrames(file, options))
  if (table === null) return 'this compressed archive has no map of its frames, and they cannot be found otherwise'
  if (atOnceIn(table, budget, threads) > 0) return table
  return `frames of ${formatBytes(table.largest.contentBytes)} are too large to be decoded by themselves with this --buffer`
}

async function sidecarOf(path: string, warn: (message: string) => void): Promise<Sidecar | null> {
  try {
    return await readSidecar(path)
  } catch (error) {
    warn(`the index beside the archive is not used: ${asVmapipeError(error).line}`)
    return null
  }
}
