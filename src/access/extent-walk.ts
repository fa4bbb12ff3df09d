/**
 * The table of an archive that has none, by a pass that hops from one extent header to the next: of the data nothing is
 * read. It ends where the archive does, or where no extent follows.
 */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { Turns } from '../core/turns.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader } from '../formats/vma/extent.ts'
import type { RecordExtent } from '../formats/vma/records.ts'
import { TableEncoder } from '../formats/vma/table.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { HopReader } from './hop-reader.ts'
import { INDEX_LIMIT, type TableOf } from './index-builder.ts'

const EXTENT = 'an extent'
/** So much of a compressed archive is worked on at once, if there is memory for it. */
const AHEAD = 32 << 20

export interface Walked extends TableOf {
  /** Why it ended before the end of the archive: extents behind this could not be found. */
  problem: VmapipeError | null
}

export async function walkExtents(
  bytes: ArchiveBytes,
  manifest: Manifest,
  headerSize: number,
  signal?: AbortSignal,
): Promise<Walked> {
  const collector = new TableCollector(manifest)
  const headers = new HopReader(bytes)
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

/** Makes a table out of the headers of all extents, in order. */
export class TableCollector {
  readonly #table: TableEncoder
  readonly #drives: ReadonlySet<number>
  #extents = 0

  constructor({ drives }: Manifest) {
    this.#table = new TableEncoder(drives.map(({ id }) => id))
    this.#drives = new Set(drives.map(({ id }) => id))
  }

  /** False for the first that is no extent of clusters but a part of the archive's end. Throws DAMAGED. */
  add({ slots, record }: Pick<ExtentHeader, 'slots'> & { record: RecordExtent | null }, offset: number): boolean {
    if (record !== null) return false
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
    return { table: Buffer.concat([this.#table.entries.bytes, this.#table.totals()]), extents: this.#extents }
  }
}
