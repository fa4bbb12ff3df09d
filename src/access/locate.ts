/** Finds the frames and the index of an archive: in the archive itself, else in the sidecar, else by a pass over the archive. */

import { walkFrames } from '../codecs/frame-walk.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Manifest } from '../core/items.ts'
import { MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import type { ArchiveHeader } from './archive-header.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { walkExtents } from './extent-walk.ts'
import { FrameTable, readFrameTable } from './frame-table.ts'
import { buildIndex } from './index-builder.ts'
import type { Sidecar } from './sidecar.ts'
import { readTrailer } from './trailer.ts'

type Warn = (message: string) => void

interface LocateOptions {
  signal?: AbortSignal | undefined
  warn: Warn
}

/** Whether the file is compressed. A file that is no archive counts as not compressed. */
export async function isCompressed(file: ArchiveBytes): Promise<boolean> {
  const start = Buffer.alloc(Math.min(MAGIC_LIMIT, file.size))
  await file.read(start, 0)
  return (recognise(start) ?? 'vma') !== 'vma'
}

/** The map at the end of the archive; null if there is none or it is wrong. */
export function ownFrames(file: ArchiveBytes, { signal, warn }: LocateOptions): Promise<FrameTable | null> {
  return unlessDamaged(() => readFrameTable(file, signal), "the map of the archive's frames", warn)
}

/** Finds frames by a pass from one to the next; null if there are frames that do not say how long they are. */
export async function walkedFrames(file: ArchiveBytes, { signal, warn }: LocateOptions): Promise<FrameTable | null> {
  try {
    const { map, problem } = await walkFrames(file, { signal })
    if (problem !== null) warn(`frames behind this are not found: ${problem.line}`)
    return await FrameTable.inMemory(map, file.size, signal)
  } catch (error) {
    if (asVmapipeError(error).code !== 'USAGE') throw error
    return null
  }
}

/** The index in the archive's trailer; null if there is none or it is wrong. */
export function ownIndex(
  bytes: ArchiveBytes,
  header: ArchiveHeader,
  { signal, warn }: LocateOptions,
): Promise<ClusterIndex | null> {
  const { manifest, headerSize } = header
  const read = async () => {
    const trailer = await readTrailer(bytes, manifest, headerSize)
    return trailer && (await buildIndex(manifest, trailer, { end: trailer.end, signal }))
  }
  return unlessDamaged(read, 'the index of the archive', warn)
}

/** The index in the archive's sidecar; null if it is wrong. */
export function sidecarIndex(
  { uuid, extents, table }: Sidecar,
  bytes: ArchiveBytes,
  { manifest, headerSize }: ArchiveHeader,
  { signal, warn }: LocateOptions,
): Promise<ClusterIndex | null> {
  const build = async () => {
    checkUuid(uuid, manifest)
    const index = await buildIndex(manifest, { table, extents, headerSize }, { gaps: true, signal })
    if (index.offsets[index.extents] <= bytes.size) return index
    throw new VmapipeError('DAMAGED', 'the archive has extents behind its end')
  }
  return unlessDamaged(build, 'the index beside the archive', warn)
}

function checkUuid(uuid: Uint8Array, manifest: Manifest): void {
  if (Buffer.compare(uuid, manifest.uuid) === 0) return
  throw new VmapipeError('DAMAGED', 'the index beside it is of another archive: its uuid differs', {
    hint: 'remove it, or make it anew with `vmapipe index --force`',
  })
}

/** Makes the index by a pass over all extents. A warning tells of extents that are not found. */
export async function walkedIndex(
  bytes: ArchiveBytes,
  { manifest, headerSize }: ArchiveHeader,
  { signal, warn }: LocateOptions,
): Promise<ClusterIndex> {
  const walked = await walkExtents(bytes, manifest, headerSize, signal)
  if (walked.problem !== null) warn(`extents behind this are not found: ${walked.problem.line}`)
  return buildIndex(manifest, walked, { gaps: true, signal })
}

async function unlessDamaged<T>(find: () => Promise<T | null>, what: string, warn: Warn): Promise<T | null> {
  try {
    return await find()
  } catch (error) {
    const { code, line } = asVmapipeError(error)
    if (code !== 'DAMAGED' && code !== 'INCOMPLETE') throw error
    warn(`${what} is not used: ${line}`)
    return null
  }
}
