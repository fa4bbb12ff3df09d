/**
 * What reading an archive finds out about it: how much of it could be checked, and all that is wrong with it. The stages
 * that are given one report damage to it and go on; without it, damage ends the run.
 */

import { type ClusterRange, ClusterSet, PageAllowance } from '../core/cluster-set.ts'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import type { DriveInfo, Manifest } from '../core/items.ts'
import type { Behind } from './behind.ts'

/** So much damage is kept, the rest is only counted: an archive may be damaged everywhere. */
const KEPT = 1000

/** Clusters of one drive. */
export interface ClusterSpan extends ClusterRange {
  drive: string
}

export interface Damage {
  /** What is wrong and where, as the error that it would be otherwise. */
  error: VmapipeError
  /** Whose data came with it and cannot be trusted. */
  clusters: readonly ClusterSpan[]
}

/** Bytes of a drive. */
export interface ByteRange {
  offset: number
  length: number
}

/** The checksums that a compression has of its own. */
export interface CompressionFindings {
  format: string
  frames: number
  /** Of these, how many carry a checksum of their content. */
  checked: number
}

export class DriveFindings {
  readonly info: DriveInfo
  /** Clusters that came. */
  readonly seen: ClusterSet
  /** Those of them whose data is damaged, or may be. */
  readonly suspect: ClusterSet
  /** How many came under a checksum of the archive. */
  checked = 0

  constructor(info: DriveInfo, allowance: PageAllowance) {
    this.info = info
    this.seen = new ClusterSet(clusterCount(info.size), allowance)
    this.suspect = new ClusterSet(clusterCount(info.size), allowance)
  }

  get isSound(): boolean {
    return this.seen.count === this.seen.size && this.suspect.count === 0
  }

  *missing(): Generator<ByteRange> {
    for (const range of this.seen.ranges(false)) yield this.#bytes(range)
  }

  *damaged(): Generator<ByteRange> {
    for (const range of this.suspect.ranges()) yield this.#bytes(range)
  }

  /** Everything that came so far is in doubt. */
  suspectAll(): void {
    for (const { first, count } of this.seen.ranges()) this.suspectRange(first, count)
  }

  suspectRange(first: number, count: number): void {
    this.suspect.include(first, count)
  }

  #bytes({ first, count }: ClusterRange): ByteRange {
    const offset = first * CLUSTER_SIZE
    return { offset, length: Math.min(count * CLUSTER_SIZE, this.info.size - offset) }
  }
}

export class Findings {
  /** By dev_id; empty until the header was read. */
  readonly drives = new Map<number, DriveFindings>()
  /** The first of all damage, in the order in which it was found. */
  readonly damage: Damage[] = []
  #count = 0
  compression: CompressionFindings | null = null
  /** What is behind the end of an archive that says where it ends. */
  behind: Behind | null = null

  /** All damage, also what is not kept. */
  get damageCount(): number {
    return this.#count
  }

  begin({ drives }: Manifest): void {
    // A hostile archive may have 254 drives: together they have no more memory than one.
    const allowance = new PageAllowance()
    for (const drive of drives) this.drives.set(drive.id, new DriveFindings(drive, allowance))
  }

  /** Notes damage that `stage` goes on behind. What is not damage to the archive is thrown. */
  report(stage: string, error: unknown, clusters: readonly ClusterSpan[] = []): VmapipeError {
    if (!isDamage(error)) throw error
    error.stage ??= stage
    this.#count++
    if (this.damage.length < KEPT) this.damage.push({ error, clusters })
    return error
  }
}

/** For a stage that is not to go on: any damage is thrown. */
export class NoFindings extends Findings {
  override report(_stage: string, error: unknown): never {
    throw error
  }
}

function isDamage(error: unknown): error is VmapipeError {
  return error instanceof VmapipeError && (error.code === 'DAMAGED' || error.code === 'INCOMPLETE')
}
