/**
 * Collects what is found out about an archive while it is read: how much of it could be checked, and all damage. A stage with
 * findings reports damage to them and continues. Without findings, damage ends the run.
 */

import type { Behind } from './behind.ts'
import { type ClusterRange, ClusterSet, PageAllowance } from './cluster-set.ts'
import { VmapipeError } from './errors.ts'
import { CLUSTER_SIZE, clusterCount } from './geometry.ts'
import type { DriveInfo, Manifest } from './items.ts'

/** The most errors that are kept. The rest is only counted, because an archive may be damaged everywhere. */
const KEPT = 1000

/** Clusters of one drive. */
export interface ClusterSpan extends ClusterRange {
  drive: string
}

/** One piece of damage. */
export interface Damage {
  /** The error that would have ended the run without findings. */
  error: VmapipeError
  /** The clusters whose data came with it and may be wrong. */
  clusters: readonly ClusterSpan[]
}

/** Bytes of a drive. */
export interface ByteRange {
  offset: number
  length: number
}

/** What is known of the compression's own checksums. */
export interface CompressionFindings {
  format: string
  frames: number
  /** The number of frames with a checksum of their content. */
  checked: number
}

/** What is found out about one drive. */
export class DriveFindings {
  readonly info: DriveInfo
  /** Clusters that came. */
  readonly seen: ClusterSet
  /** Clusters that came but whose data is, or may be, damaged. */
  readonly suspect: ClusterSet
  /** Whether the archive is incremental: a cluster that does not come is unchanged since its parent. */
  readonly isPartial: boolean
  /** The number of clusters that came with a checksum of the archive. */
  checked = 0

  constructor(info: DriveInfo, allowance: PageAllowance, isPartial = false) {
    this.info = info
    this.isPartial = isPartial
    this.seen = new ClusterSet(clusterCount(info.size), allowance)
    this.suspect = new ClusterSet(clusterCount(info.size), allowance)
  }

  get isSound(): boolean {
    return (this.isPartial || this.seen.count === this.seen.size) && this.suspect.count === 0
  }

  *missing(): Generator<ByteRange> {
    if (this.isPartial) return
    for (const range of this.seen.ranges(false)) yield this.#bytes(range)
  }

  *damaged(): Generator<ByteRange> {
    for (const range of this.suspect.ranges()) yield this.#bytes(range)
  }

  /** Puts all clusters that have come so far in doubt. */
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

/**
 * What is found out about an archive while it is read: how much of it could be checked, and all damage. A stage with findings reports
 * damage to them and continues. Without findings, damage ends the run.
 *
 *     const findings = new Findings()
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer({ findings }), verifier()]).run()
 *     console.log(findings.damageCount, 'errors')
 */
export class Findings {
  /** By dev_id; empty until the header was read. */
  readonly drives = new Map<number, DriveFindings>()
  /** The first of all damage, in the order in which it was found. */
  readonly damage: Damage[] = []
  #count = 0
  compression: CompressionFindings | null = null
  /** The bytes behind the end of an archive that has a closing extent. */
  behind: Behind | null = null

  /** The number of all errors, including those that are not kept. */
  get damageCount(): number {
    return this.#count
  }

  begin({ drives, isIncremental }: Manifest): void {
    // A hostile archive may have 254 drives: all of them share the memory of one.
    const allowance = new PageAllowance()
    for (const drive of drives) this.drives.set(drive.id, new DriveFindings(drive, allowance, isIncremental))
  }

  /** Records damage, and `stage` continues behind it. An error that is not damage to the archive is thrown. */
  report(stage: string, error: unknown, clusters: readonly ClusterSpan[] = []): VmapipeError {
    if (!isDamage(error)) throw error
    error.stage ??= stage
    this.#count++
    if (this.damage.length < KEPT) this.damage.push({ error, clusters })
    return error
  }
}

/** Findings for a stage that must not continue: any damage is thrown. */
export class NoFindings extends Findings {
  override report(_stage: string, error: unknown): never {
    throw error
  }
}

/** Whether the error is that an archive is damaged, or not whole. */
export function isDamage(error: unknown): error is VmapipeError {
  return error instanceof VmapipeError && (error.code === 'DAMAGED' || error.code === 'INCOMPLETE')
}
