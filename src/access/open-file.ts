/** Opens an archive that is a file, so that it can be read in any order without unpacking it. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { Budget } from '../core/budget.ts'
import type { Counters } from '../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { formatBytes } from '../core/size.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { OnlyInOrder } from '../storage/archive/ssh-bytes.ts'
import { openArchiveBytes } from '../storage/archive/volumes/volume-bytes.ts'
import { readHeader } from './archive-header.ts'
import { decrypted } from './encrypted-bytes.ts'
import { ExtentHeaders } from './extent-headers.ts'
import type { FrameTable } from './frame-table.ts'
import { FramedExtents } from './framed-extents.ts'
import { FramedStream } from './framed-stream.ts'
import type { ArchiveParts } from './layers.ts'
import { isCompressed, ownFrames, ownIndex, sidecarIndex, walkedFrames, walkedIndex } from './locate.ts'
import { PlainExtents } from './plain-extents.ts'
import { atOnceIn, type ChainMemory, memoryForExtents, memoryForFrames, type ReadingMemory } from './reading-memory.ts'
import { readSidecar, type Sidecar } from './sidecar.ts'

export interface OpenFileOptions {
  /** Memory for reading and for the cache, which takes all of it. */
  budget: Budget
  /** The memory of the chain that the archive belongs to, instead of the budget. */
  chain?: ChainMemory
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

/** One archive that is open, without its parents. */
export interface OpenFile {
  manifest: Manifest
  parts: ArchiveParts
  /** The archive without its compression. */
  bytes: ArchiveBytes
  close(): Promise<void>
}

/** Opens the archive of this path, or s3://bucket/key. Returns a reason instead if it must be unpacked to be read in any order. */
export async function openFile(path: string, options: OpenFileOptions): Promise<OpenFile | string> {
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

async function openWith(path: string, sidecar: Sidecar | null, options: OpenFileOptions): Promise<OpenFile | string> {
  const opened = await openArchiveBytes(path, options).catch(reasonOrThrow)
  if (typeof opened === 'string') return opened
  let bytes = opened
  try {
    const file = await decrypted(bytes, options.keys)
    bytes = file
    const table = (await isCompressed(file)) ? await findFrames(file, sidecar, options) : null
    if (typeof table === 'string') {
      await file.close()
      return table
    }
    const memory = memoryFor(table, options)
    const frames = table && new FramedStream(file, table, memory)
    bytes = frames ?? file
    return await openBytes(bytes, frames, memory, sidecar, options)
  } catch (error) {
    await bytes.close()
    const failure = asVmapipeError(error)
    failure.where.file ??= path
    throw failure
  }
}

function memoryFor(table: FrameTable | null, { budget, chain, threads }: OpenFileOptions): ReadingMemory {
  if (chain !== undefined) return chain.next(table)
  return table === null ? memoryForExtents(budget, threads) : memoryForFrames(table, budget, threads)
}

async function openBytes(
  bytes: ArchiveBytes,
  frames: FramedStream | null,
  memory: ReadingMemory,
  sidecar: Sidecar | null,
  { signal, warn }: OpenFileOptions,
): Promise<OpenFile> {
  const header = await readHeader(bytes)
  const { manifest } = header
  const own = await ownIndex(bytes, header, { signal, warn })
  if (own === null && manifest.record?.parent) throw withoutIndex()
  const index =
    own ??
    (sidecar && (await sidecarIndex(sidecar, bytes, header, { signal, warn }))) ??
    (await walkedIndex(bytes, header, { signal, warn }))
  const headers = new ExtentHeaders(bytes, index, manifest)
  const data = frames ? new FramedExtents(frames, index) : new PlainExtents(bytes, index, headers, memory)
  return { manifest, bytes, parts: { index, headers, data, place: null }, close: () => data.close() }
}

/** A cluster that is missing in an incremental archive is that of the parent. So it must be certain which ones are missing. */
function withoutIndex(): VmapipeError {
  return new VmapipeError('DAMAGED', 'the index of this incremental archive is missing or damaged', {
    hint: 'without it nobody knows which clusters it has; its parent can still be restored',
  })
}

/** Finds the frames. Returns a reason instead if the archive can only be read from front to back. */
async function findFrames(
  file: ArchiveBytes,
  sidecar: Sidecar | null,
  options: OpenFileOptions,
): Promise<FrameTable | string> {
  const { budget, chain, threads, warn, signal } = options
  const table = (await ownFrames(file, { signal, warn })) ?? sidecar?.frames ?? (await walkedFrames(file, options))
  if (table === null) return 'this compressed archive has no map of its frames, and they cannot be found otherwise'
  if (chain === undefined ? atOnceIn(table, budget, threads) > 0 : chain.fits(table)) return table
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

/** The reason why an archive elsewhere can only be read from front to back. */
function reasonOrThrow(error: unknown): string {
  if (error instanceof OnlyInOrder) return error.message
  throw error
}
