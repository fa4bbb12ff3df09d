/**
 * Finds the place of each cluster's hash: its group of hash records, and its number in the group (formats/vma/README.md, section 5).
 * It takes two bytes for each extent, and a few for each group of 1 GiB of data.
 */

import { MAX_GROUP, recordsOf } from '../formats/vma/hash-records.ts'
import { GrowingNumbers } from './growing-numbers.ts'

/** Where the hash of a cluster is. */
export interface HashPlace {
  /** The number of its group among the extents of the index, where a group counts as one extent. */
  group: number
  /** Its number among the hashes of the group. */
  number: number
}

export class HashPlaces {
  /** For each extent, how many clusters are stored between the group before it and the extent. */
  readonly #before: Uint16Array
  /** For each group its number among the extents, and how many hashes it has. */
  readonly #groups: Uint32Array
  readonly #sizes: Uint32Array

  constructor(before: Uint16Array, groups: Uint32Array, sizes: Uint32Array) {
    this.#before = before
    this.#groups = groups
    this.#sizes = sizes
  }

  /** The place of the hash of the stored cluster of this number in its extent. */
  of(extent: number, numberInExtent: number): HashPlace {
    return { group: this.#groups[this.#groupBehind(extent)], number: this.#before[extent] + numberInExtent }
  }

  /** The number of hashes of a group. */
  sizeOf(group: number): number {
    return this.#sizes[this.#groupBehind(group - 1)]
  }

  /** The first group behind this extent. */
  #groupBehind(extent: number): number {
    let low = 0
    let high = this.#groups.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#groups[middle] > extent) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Collects the places while an index is built. */
export class HashPlacesBuilder {
  readonly #before = new GrowingNumbers(Uint16Array)
  readonly #groups = new GrowingNumbers(Uint32Array)
  readonly #sizes = new GrowingNumbers(Uint32Array)
  /** Clusters that are stored since the last group. */
  #stored = 0
  /** Records of the group that is being read. */
  #records = 0
  /** Whether the groups cannot be those of the extents, or there are none. */
  #isWrong = false

  /** Adds an extent that stores so many clusters. */
  extent(stored: number): void {
    if (this.#records > 0) this.#endGroup()
    this.#before.push(this.#stored)
    this.#stored += stored
    if (this.#stored > MAX_GROUP) this.#isWrong = true
    if (this.#isWrong) this.#stored = 0
  }

  /** The same for several extents. */
  extents(stored: number, times: number): void {
    this.extent(stored)
    if (stored > 0) for (let left = times - 1; left > 0; left--) this.extent(stored)
    else this.#before.pushSeries(this.#stored, 0, times - 1)
  }

  /** Adds a hash record. Returns whether it begins a group, which is an extent of this number. */
  record(extent: number): boolean {
    this.#records++
    if (this.#records > 1) return false
    this.#before.push(0)
    this.#groups.push(extent)
    return true
  }

  /** Null if the archive has no hashes, or not all of them. */
  finish(): HashPlaces | null {
    if (this.#records > 0) this.#endGroup()
    if (this.#isWrong || this.#stored > 0) return null
    return new HashPlaces(this.#before.take(), this.#groups.take(), this.#sizes.take())
  }

  #endGroup(): void {
    if (this.#records !== recordsOf(this.#stored)) this.#isWrong = true
    this.#sizes.push(this.#stored)
    this.#records = 0
    this.#stored = 0
  }
}
