/** Opens an archive as drives that can be read in any order, without unpacking it if possible. */

import { stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import type { Readable } from 'node:stream'
import { Budget } from '../core/budget.ts'
import type { Counters } from '../core/counters.ts'
import { asVmapipeError } from '../core/errors.ts'
import type { DriveInfo } from '../core/items.ts'
import { DEFAULT_BUDGET } from '../core/run.ts'
import { formatBytes } from '../core/size.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { ArchiveFile } from '../storage/archive/archive-file.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { type Archive, OpenArchive } from './archive.ts'
import { ArchiveDrive } from './archive-drive.ts'
import { readHeader } from './archive-header.ts'
import { ExtentHeaders } from './extent-headers.ts'
import type { FrameTable } from './frame-table.ts'
import { FramedExtents } from './framed-extents.ts'
import { atOnceIn, Frames } from './frames.ts'
import { isCompressed, ownFrames, ownIndex, sidecarIndex, walkedFrames, walkedIndex } from './locate.ts'
import { PieceCache } from './piece-cache.ts'
import { PlainExtents } from './plain-extents.ts'
import { readSidecar, type Sidecar } from './sidecar.ts'
import { spoolArchive } from './spool.ts'

export type { Archive } from './archive.ts'

export interface OpenArchiveOptions {
  /** Memory for reading and for the cache, which takes all of it. By default a budget of its own of 64 MiB. */
  budget?: Budget
  /** Tasks that run at once; the number of processors by default. */
  threads?: number
  /** Aborts the opening. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn?: (message: string) => void
  /**
   * The folder for unpacked drives, if the archive can only be read from front to back: a pipe, or a compressed file without frames
   * that can be found. The default is the folder for temporary files. A warning says the size first.
   */
  spool?: string
  /** Names of the wanted drives, which saves work if the archive is unpacked; all drives by default. */
  only?: readonly string[]
  /** Counts what is read of the archive. */
  counters?: Counters
}

type Settled = OpenArchiveOptions & Required<Pick<OpenArchiveOptions, 'budget' | 'threads' | 'warn'>>

/**
 * Opens a path, or an archive that can only be read once: `-`, `ssh://user@host/path`, `exec:COMMAND`, a Node stream. Errors: USAGE,
 * FAILED, DAMAGED, INCOMPLETE, ABORTED. Damage behind the header of a file is a warning now, and an error when it is read.
 */
export async function openArchive(from: string | Readable, options: OpenArchiveOptions = {}): Promise<Archive> {
  const { budget = new Budget(DEFAULT_BUDGET), threads = availableParallelism(), warn = () => {} } = options
  const settled = { ...options, budget, threads, warn }
  options.signal?.throwIfAborted()
  const path = await pathOf(from)
  const archive = path === null ? 'the archive can only be read once' : await openFile(path, settled)
  if (typeof archive !== 'string') return archive
  const spool = { folder: options.spool ?? tmpdir(), why: archive, again: path !== null }
  // The attempt without unpacking carved its parts off the budget and uses them no more, so a new budget is used.
  return spoolArchive(from, { ...settled, ...spool, budget: path === null ? budget : new Budget(budget.capacity) })
}

/** The path of a file; null if the archive can only be read once. */
async function pathOf(from: string | Readable): Promise<string | null> {
  if (typeof from !== 'string') return null
  const place = parsePlace(from)
  if (place.kind !== 'file') return null
  const stats = await stat(place.path).catch(() => null)
  return stats?.isFIFO() || stats?.isCharacterDevice() ? null : place.path
}

/** Opens a file. Returns a reason instead if the archive must be unpacked. */
async function openFile(path: string, options: Settled): Promise<Archive | string> {
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

async function openWith(path: string, sidecar: Sidecar | null, options: Settled): Promise<Archive | string> {
  const file = await ArchiveFile.open(path, options.counters)
  let bytes: ArchiveBytes = file
  try {
    const table = (await isCompressed(file)) ? await findFrames(file, sidecar, options) : null
    if (typeof table === 'string') {
      await file.close()
      return table
    }
    const frames = table && new Frames(file, table, options.budget, options.threads)
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
  frames: Frames | null,
  sidecar: Sidecar | null,
  { budget, threads, signal, warn }: Settled,
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
async function findFrames(file: ArchiveBytes, sidecar: Sidecar | null, options: Settled): Promise<FrameTable | string> {
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
