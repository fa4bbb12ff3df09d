/** An archive as a set of drives to read in any order, at once: nothing is unpacked. */

import { stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import type { Readable } from 'node:stream'
import { Budget } from '../core/budget.ts'
import type { Counters } from '../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { DriveInfo, Manifest } from '../core/items.ts'
import { DEFAULT_BUDGET } from '../core/run.ts'
import { MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { openRawReader, type RawReader } from '../storage/raw-reader.ts'
import { type Archive, OpenArchive } from './archive.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { ArchiveDrive } from './archive-drive.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { readEnding } from './ending.ts'
import { ExtentHeaders } from './extent-headers.ts'
import { walkExtents } from './extent-walk.ts'
import { type FrameTable, readFrameTable } from './frame-table.ts'
import { FramedExtents } from './framed-extents.ts'
import { Frames } from './frames.ts'
import { buildIndex } from './index-builder.ts'
import { PieceCache } from './piece-cache.ts'
import { PlainExtents } from './plain-extents.ts'
import { spoolArchive } from './spool.ts'

export type { Archive } from './archive.ts'

export interface OpenArchiveOptions {
  /** Memory for what is read and kept; all that it can lend is taken. 64 MiB of its own unless given. */
  budget?: Budget
  /** What is done at once; the number of processors unless told otherwise. */
  threads?: number
  /** Ends the opening. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
  /**
   * A folder for the drives of an archive that can only be read once, from front to back: unless it is given, a pipe's are
   * in the folder for temporary files, and a compressed file in which nothing can be found is USAGE.
   */
  spool?: string
  /** Drives that are wanted, where that saves work; all unless given. */
  only?: readonly string[]
  /** Counts a pass that unpacks the archive. */
  counters?: Counters
}

type Settled = OpenArchiveOptions & Required<Pick<OpenArchiveOptions, 'budget' | 'threads' | 'warn'>>

/**
 * Opens a path, or what can only be read once: `-`, `ssh://user@host/path`, `exec:COMMAND`, a Node stream. Errors: USAGE,
 * FAILED, DAMAGED, INCOMPLETE, ABORTED. What is wrong behind the header of a file is told by a warning, and when it is read.
 */
export async function openArchive(from: string | Readable, options: OpenArchiveOptions = {}): Promise<Archive> {
  const { budget = new Budget(DEFAULT_BUDGET), threads = availableParallelism(), warn = () => {} } = options
  const settled = { ...options, budget, threads, warn }
  options.signal?.throwIfAborted()
  const path = await pathOf(from)
  const archive = path === null ? null : await openFile(path, settled)
  return archive ?? spoolArchive(from, { ...settled, folder: options.spool ?? tmpdir() })
}

/** Null for what can only be read once. */
async function pathOf(from: string | Readable): Promise<string | null> {
  if (typeof from !== 'string') return null
  const place = parsePlace(from)
  if (place.kind !== 'file') return null
  const stats = await stat(place.path).catch(() => null)
  return stats?.isFIFO() || stats?.isCharacterDevice() ? null : place.path
}

/** Null for one that is to be spooled. */
async function openFile(path: string, { budget, threads, signal, warn, spool }: Settled): Promise<Archive | null> {
  const file = await openRawReader(path)
  let bytes: ArchiveBytes = file
  try {
    const table = await findFrames(file, warn)
    if (table === null && spool === undefined) throw unknownFrames()
    if (table === null) {
      await file.close()
      return null
    }
    const frames = table === 'none' ? null : new Frames(file, table, budget, threads)
    bytes = frames ?? file
    const { manifest, size } = await readHeader(bytes)
    const index = await findIndex(bytes, manifest, size, { signal, warn })
    const headers = new ExtentHeaders(bytes, index, manifest)
    const plain = () => new PieceCache(budget.carve(budget.capacity, 'reading the archive'), threads + 2)
    const data = frames ? new FramedExtents(frames, index) : new PlainExtents(file, index, headers, plain())
    const open = (info: DriveInfo) => new ArchiveDrive(info, { index, headers, data })
    return new OpenArchive(manifest, open, () => data.close())
  } catch (error) {
    await bytes.close()
    const failure = asVmapipeError(error)
    failure.where.file ??= path
    throw failure
  }
}

/** `none` for an archive that is not compressed; null where nothing tells where its frames are. */
async function findFrames(file: RawReader, warn: (message: string) => void): Promise<FrameTable | 'none' | null> {
  const start = Buffer.alloc(Math.min(MAGIC_LIMIT, file.size))
  await file.read(start, 0)
  const format = recognise(start)
  if (format === undefined || format === 'vma') return 'none'
  try {
    return await readFrameTable(file)
  } catch (error) {
    const { code, line } = asVmapipeError(error)
    if (code !== 'DAMAGED') throw error
    warn(`the map of the archive's frames is not used: ${line}`)
    return null
  }
}

function unknownFrames(): VmapipeError {
  return new VmapipeError('USAGE', 'nothing tells where in this compressed archive anything is', {
    hint: 'name a folder with --spool, which it is unpacked into',
  })
}

/** Bytes of the header that tell its size. */
const HEADER_START = 60

async function readHeader(bytes: ArchiveBytes): Promise<{ manifest: Manifest; size: number }> {
  const need = (length: number) => {
    if (bytes.size >= length) return Buffer.alloc(length)
    const what = bytes.size === 0 ? 'the archive is empty' : 'the archive ends within its header'
    throw new VmapipeError('INCOMPLETE', what, { offset: bytes.size })
  }
  const start = need(HEADER_START)
  await bytes.read(start, 0)
  const size = headerSize(start)
  const header = need(size)
  await bytes.read(header, 0)
  return { manifest: decodeHeader(header), size }
}

/** The archive's own index, or one that is made by a pass over it. */
async function findIndex(
  bytes: ArchiveBytes,
  manifest: Manifest,
  headerSize: number,
  { signal, warn }: { signal?: AbortSignal; warn: (message: string) => void },
): Promise<ClusterIndex> {
  try {
    const ending = await readEnding(bytes, manifest, headerSize)
    if (ending !== null) return buildIndex(manifest, ending, { end: ending.end })
  } catch (error) {
    const { code, line } = asVmapipeError(error)
    if (code !== 'DAMAGED') throw error
    warn(`the index of the archive is not used: ${line}`)
  }
  const walked = await walkExtents(bytes, manifest, headerSize, signal)
  if (walked.problem !== null) warn(`extents behind this are not found: ${walked.problem.line}`)
  return buildIndex(manifest, walked, { gaps: true })
}
