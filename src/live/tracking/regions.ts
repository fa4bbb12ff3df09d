/**
 * Bitmaps of a drive's regions, which are what is marked as written, and what they say of clusters. A region is many clusters, so that
 * a guest's write rarely touches a new one.
 */

import { CLUSTER_SIZE } from '../../core/geometry.ts'

/** The least bytes of a region (1 MiB): a disk of 16 GiB then has 16384 of them, which random writes have soon touched. */
const LEAST_REGION = 1 << 20
/** The most regions of a drive: a bitmap of 2 MiB. */
const MOST_REGIONS = 2 ** 24

/** Bytes of a region of a drive of this size: a power of two. */
export function regionSize(size: number): number {
  let region = LEAST_REGION
  while (size / region > MOST_REGIONS) region *= 2
  return region
}

export class Regions {
  /** Bytes of a region. */
  readonly region: number
  readonly count: number
  /** The lowest bit of a byte is first. */
  readonly bits: Uint8Array

  constructor(size: number, region: number) {
    this.region = region
    this.count = Math.ceil(size / region)
    this.bits = new Uint8Array(Math.ceil(this.count / 8))
  }

  has(index: number): boolean {
    return ((this.bits[index >>> 3] >>> (index & 7)) & 1) === 1
  }

  set(index: number): void {
    this.bits[index >>> 3] |= 1 << (index & 7)
  }

  /** Whether all regions of these clusters are set. */
  hasClusters(first: number, last: number): boolean {
    const each = this.region / CLUSTER_SIZE
    const to = Math.floor(last / each)
    for (let index = Math.floor(first / each); index <= to; index++) if (!this.has(index)) return false
    return true
  }

  /** Adds the regions that are set in `bits`, which are those from region `at` on, a multiple of 8. */
  include(bits: Uint8Array, at = 0): void {
    const from = at >>> 3
    const length = Math.min(bits.length, this.bits.length - from)
    for (let index = 0; index < length; index++) this.bits[from + index] |= bits[index]
  }
}

/** The clusters of a drive that may have changed: those of regions that are set. */
export class RegionClusters {
  readonly size: number
  readonly #regions: Regions
  readonly #each: number

  /** `clusters` of the drive. */
  constructor(regions: Regions, clusters: number) {
    this.#regions = regions
    this.#each = regions.region / CLUSTER_SIZE
    this.size = clusters
  }

  /** The number of clusters in the set. */
  get count(): number {
    let count = 0
    for (let first = 0; first < this.size; ) {
      const end = this.runEnd(first, this.size)
      if (this.has(first)) count += end - first
      first = end
    }
    return count
  }

  has(cluster: number): boolean {
    return this.#regions.has(Math.floor(cluster / this.#each))
  }

  /** Adds the regions of these clusters. */
  include(first: number, last: number): void {
    const to = Math.floor(last / this.#each)
    for (let index = Math.floor(first / this.#each); index <= to; index++) this.#regions.set(index)
  }

  /** The end of the clusters from `from` on that are in the set as `from` is, or are not as it is not; at most `to`. */
  runEnd(from: number, to: number): number {
    const { bits } = this.#regions
    const value = this.has(from)
    const whole = value ? 0xff : 0
    const end = Math.ceil(to / this.#each)
    let index = Math.floor(from / this.#each)
    while (index < end) {
      if ((index & 7) === 0 && bits[index >>> 3] === whole && index + 8 <= end) index += 8
      else if (this.#regions.has(index) === value) index++
      else break
    }
    return Math.min(to, Math.max(from + 1, index * this.#each))
  }
}
