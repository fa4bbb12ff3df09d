/** Describes the chain of an incremental archive: its archives from the full one on, and what each of them adds. */

import type { ChainMember } from '../chain/open-chain.ts'
import { clusterCount } from '../core/geometry.ts'
import type { Manifest } from '../core/items.ts'
import { uuidText } from '../formats/vma/header.ts'
import { type ChainJobOptions, chainOf, mayHaveParents } from './chain.ts'

/** What an archive of a chain has of a drive. */
export interface AddedDrive {
  name: string
  /** Bytes of the drive. */
  size: number
  /** Clusters with data in this archive. */
  data: number
  /** Clusters that this archive says are zero. */
  zero: number
}

/** One archive of a chain. */
export interface AddedArchive {
  place: string
  uuid: string
  ctime: number
  /** Whether it has all clusters. */
  full: boolean
  /** Bytes of data without compression. */
  bytes: number
  drives: AddedDrive[]
}

/**
 * The archives of the chain whose last one is at this place, the full one first; null if its parents cannot be looked for, as those of a
 * stream. Only headers and indexes are read. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 */
export async function describeChain(from: string, options: ChainJobOptions): Promise<AddedArchive[] | null> {
  if (!(await mayHaveParents(from))) return null
  const chain = await chainOf(from, options)
  try {
    return chain.members.map(added).reverse()
  } finally {
    await chain.close()
  }
}

function added({ place, manifest, file }: ChainMember): AddedArchive {
  const { index } = file.parts
  const { uuid, ctime, isIncremental } = manifest
  const bytes = index.offsets[index.extents] - index.offsets[0]
  const drives = drivesOf(manifest, index)
  return { place, uuid: uuidText(uuid), ctime, full: !isIncremental, bytes, drives }
}

function drivesOf({ drives }: Manifest, index: ChainMember['file']['parts']['index']): AddedDrive[] {
  return drives.map(({ id, name, size }) => {
    const drive = { name, size, data: 0, zero: 0 }
    for (const { first, end, extent, stored } of index.runs(id, 0, clusterCount(size))) {
      if (extent < 0) continue
      if (stored) drive.data += end - first
      else drive.zero += end - first
    }
    return drive
  })
}
