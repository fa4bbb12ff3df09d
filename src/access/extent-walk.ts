/**
 * Makes the table of an archive without one, by a pass from one extent header to the next, without reading data. The pass ends at the
 * end of the archive, or at the first place that no extent begins at.
 */

import { ForwardReader } from '../codecs/forward-reader.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { Turns } from '../core/turns.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader } from '../formats/vma/extent.ts'
import { HASHES, type RecordExtent } from '../formats/vma/records.ts'
import { TableEncoder } from '../formats/vma/table.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { INDEX_LIMIT, type TableOf } from './index-builder.ts'

const EXTENT = 'an extent'
/** Bytes of a compressed archive that are loaded in advance (32 MiB), if there is memory for them. */
const AHEAD = 32 << 20

interface Walked extends TableOf {
  /** The reason why the pass ended before the end of the archive, or null. Extents behind that place are not found. */
  problem: VmapipeError | null
}

export async function walkExtents(
  bytes: ArchiveBytes,
  manifest: Manifest,
  headerSize: number,
  signal?: AbortSignal,
): Promise<Walked> {
  const collector = new TableCollector(manifest)
  const headers = new ForwardReader(bytes)
  const turns = new Turns()
  let problem: VmapipeError | null = null
  try {
    for (let offset = headerSize; offset < bytes.size; ) {
      await turns.take()
      signal?.throwIfAborted()
      bytes.ahead?.([{ offset, length: AHEAD }])
      const header = decodeExtentHeader(await headers.read(offset, EXTENT_HEADER_SIZE, EXTENT), manifest.uuid, offset)
      const next = offset + EXTENT_HEADER_SIZE + header.blocks * BLOCK_SIZE
      if (next > bytes.size)
        throw new VmapipeError('INCOMPLETE', `the archive ends within ${EXTENT}`, { offset: bytes.size })
      if (!collector.add(header, offset)) break
      offset = next
    }
  } catch (error) {
    problem = asVmapipeError(error)
    if (problem.code !== 'DAMAGED' && problem.code !== 'INCOMPLETE') throw problem
  }
  return { ...collector.finish(), headerSize, problem }
}

/** Makes a table of the headers of all extents, in order. */
class TableCollector {
  readonly #table: TableEncoder
  readonly #drives: ReadonlySet<number>
  #extents = 0

  constructor({ drives }: Manifest) {
    this.#table = new TableEncoder(drives.map(({ id }) => id))
    this.#drives = new Set(drives.map(({ id }) => id))
  }

  /** Adds an extent, or a hash record. Returns false if it belongs to the table of the archive. Throws DAMAGED. */
  add({ slots, record }: Pick<ExtentHeader, 'slots'> & { record: RecordExtent | null }, offset: number): boolean {
    if (record !== null && record.kind !== HASHES) return false
    const stranger = slots.find(({ drive }) => !this.#drives.has(drive))
    if (stranger !== undefined) {
      const message = `the extent holds clusters of dev_id ${stranger.drive}, which the header does not declare`
      throw new VmapipeError('DAMAGED', message, { offset })
    }
    for (const { drive, cluster, mask } of slots) this.#table.add(drive, cluster, mask)
    this.#table.endExtent()
    this.#extents++
    if (this.#table.entries.bytes.length > INDEX_LIMIT)
      throw new VmapipeError('DAMAGED', 'an index of all extents would be too large', { offset })
    return true
  }

  finish(): Pick<TableOf, 'table' | 'extents'> {
    return { table: this.#table.finish(), extents: this.#extents }
  }
}
