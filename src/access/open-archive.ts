/** An archive as a set of drives to read in any order, at once: nothing is unpacked. */

import { availableParallelism } from 'node:os'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { DEFAULT_BUDGET } from '../core/run.ts'
import { MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'
import { openRawReader, type RawReader } from '../storage/raw-reader.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { ArchiveDrive, type ArchiveParts } from './archive-drive.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { readEnding } from './ending.ts'
import { ExtentHeaders } from './extent-headers.ts'
import { walkExtents } from './extent-walk.ts'
import { readFrameTable } from './frame-table.ts'
import { FramedExtents } from './framed-extents.ts'
import { Frames } from './frames.ts'
import { buildIndex } from './index-builder.ts'
import { PieceCache } from './piece-cache.ts'
import { PlainExtents } from './plain-extents.ts'

export interface OpenArchiveOptions {
  /** Memory for what is read and kept; all that it can lend is taken. 64 MiB of its own unless given. */
  budget?: Budget
  /** What is done at once; the number of processors unless told otherwise. */
  threads?: number
  /** Ends the opening. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
}

export interface Archive {
  readonly manifest: Manifest
  /** The drive of this name, to be read by one who reads it in order or by many. Throws USAGE where there is none. */
  drive(name: string): ArchiveDrive
  /** Waits for what is in flight, or lets it fail. May be called more than once. */
  close(): Promise<void>
}

/** Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED; all that is beyond the header is told when it is read. */
export async function openArchive(path: string, options: OpenArchiveOptions = {}): Promise<Archive> {
  const { budget = new Budget(DEFAULT_BUDGET), threads = availableParallelism(), signal, warn = () => {} } = options
  signal?.throwIfAborted()
  const file = await openRawReader(path)
  let bytes: ArchiveBytes = file
  try {
    const frames = await openFrames(file, budget, threads, warn)
    bytes = frames ?? file
    const { manifest, size } = await readHeader(bytes)
    const index = await findIndex(bytes, manifest, size, { signal, warn })
    const headers = new ExtentHeaders(bytes, index, manifest)
    const plain = () => new PieceCache(budget.carve(budget.capacity, 'reading the archive'), threads + 2)
    const data = frames ? new FramedExtents(frames, index) : new PlainExtents(file, index, headers, plain())
    return new OpenArchive(manifest, { index, headers, data })
  } catch (error) {
    await bytes.close()
    const failure = asVmapipeError(error)
    failure.where.file ??= path
    throw failure
  }
}

/** Null for an archive that is not compressed. */
async function openFrames(file: RawReader, budget: Budget, threads: number, warn: (message: string) => void) {
  const start = Buffer.alloc(Math.min(MAGIC_LIMIT, file.size))
  await file.read(start, 0)
  const format = recognise(start)
  if (format === undefined || format === 'vma') return null
  const table = await readFrameTable(file).catch((error) => {
    if (asVmapipeError(error).code !== 'DAMAGED') throw error
    warn(`the map of the archive's frames is not used: ${error.line}`)
    return null
  })
  if (table !== null) return new Frames(file, table, budget, threads)
  throw new VmapipeError('USAGE', `nothing tells where in this ${format} archive anything is`, {
    hint: 'give a folder with --spool for what is unpacked on the way',
  })
}

class OpenArchive implements Archive {
  readonly manifest: Manifest
  readonly #parts: ArchiveParts

  constructor(manifest: Manifest, parts: ArchiveParts) {
    this.manifest = manifest
    this.#parts = parts
  }

  drive(name: string): ArchiveDrive {
    const { drives } = this.manifest
    const found = drives.find((drive) => drive.name === name)
    if (found !== undefined) return new ArchiveDrive(found, this.#parts)
    const known = drives.map((drive) => drive.name).join(', ')
    throw new VmapipeError('USAGE', `the archive has no drive '${name}'`, { hint: `it has ${known || 'none'}` })
  }

  async close(): Promise<void> {
    await this.#parts.data.close()
  }
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
