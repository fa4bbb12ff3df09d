/** Writes an index for an archive that has none of its own, into a file beside it. */

import { availableParallelism } from 'node:os'
import { readHeader } from '../access/archive-header.ts'
import { decrypted } from '../access/encrypted-bytes.ts'
import { walkExtents } from '../access/extent-walk.ts'
import { FrameTable } from '../access/frame-table.ts'
import { FramedStream } from '../access/framed-stream.ts'
import { buildIndex } from '../access/index-builder.ts'
import { isCompressed, ownFrames, ownIndex } from '../access/locate.ts'
import { atOnceIn, memoryForFrames } from '../access/reading-memory.ts'
import { writeSidecar } from '../access/sidecar.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import { notSmallFrames, walkFrames } from '../codecs/frame-walk.ts'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { checkOptions, flag, type Shape, text } from '../core/options.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { DEFAULT_BUDGET, runShape } from '../core/run-options.ts'
import { z } from '../core/stage.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { openArchiveBytes } from '../storage/archive/volumes/volume-bytes.ts'

/** Which archive gets an index. */
export interface IndexOptions extends RunOptions {
  /** The path of the archive. */
  archive: string
  /** Replaces an index that exists. */
  force?: boolean
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
}

const shape = { ...runShape, archive: text, force: flag, keys: z.instanceof(Keyring) } satisfies Shape<IndexOptions>

/** The index that was written. */
export interface IndexReport {
  /** The path of the index; null if the archive has an index of its own. */
  path: string | null
  extents: number
  bytes: number
}

/**
 * Writes an index beside an archive that has none, so that its drives are opened at once.
 * Resolves when the index is durable. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     await indexArchive({ archive: 'vzdump-qemu-100.vma' })
 */
export async function indexArchive(given: IndexOptions): Promise<IndexReport> {
  checkOptions('indexArchive', { shape, required: ['archive'] }, given)
  const { archive, force, keys = new Keyring(), ...options } = given
  const place = parsePlace(archive)
  if (place.kind !== 'file' && place.kind !== 's3')
    throw new VmapipeError('USAGE', 'only a file or an object can have an index beside it', { hint: 'give its path' })
  let bytes = await openArchiveBytes(archive, { signal: options.signal })
  try {
    const file = await decrypted(bytes, keys)
    bytes = file
    const { warn = () => {}, signal, buffer = DEFAULT_BUDGET, threads = availableParallelism() } = options
    const compressed = await isCompressed(file)
    const own = compressed ? await ownFrames(file, { signal, warn }) : null
    const table = compressed ? (own ?? (await framesOf(file, warn, signal))) : null
    if (table !== null && own === null && atOnceIn(table, new Budget(buffer), threads) === 0) throw notSmallFrames()
    if (table !== null) bytes = new FramedStream(file, table, memoryForFrames(table, new Budget(buffer), threads))
    const header = await readHeader(bytes)
    const index = compressed && own === null ? null : await ownIndex(bytes, header, { signal, warn })
    if (index !== null) return { path: null, extents: index.extents, bytes: 0 }
    const walked = await walkExtents(bytes, header.manifest, header.headerSize, signal)
    if (walked.problem !== null) warn(`extents behind this place are not found: ${walked.problem.line}`)
    // Checks the index as it will be checked when it is read.
    await buildIndex(header.manifest, walked, { gaps: true, signal })
    const sidecar = {
      uuid: header.manifest.uuid,
      extents: walked.extents,
      table: walked.table,
      frames: own ? null : table,
    }
    const path = await writeSidecar(archive, sidecar, { warn, ...(force && { force }) })
    return { path, extents: walked.extents, bytes: walked.table.length }
  } catch (error) {
    const failure = asVmapipeError(error)
    failure.where.file ??= archive
    throw failure
  } finally {
    await bytes.close()
  }
}

async function framesOf(
  file: ArchiveBytes,
  warn: (message: string) => void,
  signal?: AbortSignal,
): Promise<FrameTable> {
  const { map, problem } = await walkFrames(file, { decode: true, signal })
  if (problem !== null) warn(`frames behind this place are not found: ${problem.line}`)
  return FrameTable.inMemory(map, file.size, signal)
}
