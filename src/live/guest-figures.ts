/** How a guest fares during a backup of its drives: the figures that every kind of live backup keeps and shows. */

import type { Budget } from '../core/budget.ts'
import { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import type { Run } from '../core/items.ts'
import { Waiting, type WaitingFigures } from './waiting.ts'

/** How the guest of a live backup is doing, whichever way it is backed up. */
export interface GuestStatus {
  /** The point in time, in seconds since the epoch. */
  since: number
  /** Clusters of all drives: in all, archived by the scan, and archived by copies before a guest's write. */
  clusters: { total: number; scanned: number; copied: number }
  /** What the copies took: reads of old data, pieces of it given to the archive, and requests of the guest that waited. */
  copies: { reads: number; archived: number; requests: number }
  waiting: WaitingFigures
  /** Bytes of old data in memory, how many there may be, and since when it was full first (seconds since the epoch), if it was. */
  buffer: { used: number; size: number; highest: number; full: number | null }
  counters: Record<string, number>
}

export class GuestFigures {
  /** The requests of the guest that wait for the backup. */
  readonly waiting = new Waiting()
  /** The point in time, in seconds since the epoch; 0 before it. */
  since = 0
  #total: number
  #counters: Counters
  #budget: Budget | null = null
  #scanned = 0
  #copied = 0
  #reads = 0
  #archived = 0

  /** `sizes`: bytes of each drive. `counters`: those of the run, if they are known before it begins. */
  constructor(sizes: readonly number[], counters = new Counters()) {
    this.#total = sizes.reduce((sum, size) => sum + clusterCount(size), 0)
    this.#counters = counters
  }

  /** From now on the budget and the counters of the run are shown. */
  begin({ budget, counters }: { budget: Budget; counters: Counters }): void {
    this.#budget = budget
    this.#counters = counters
  }

  /** Clusters that need not be archived, because they have not changed since the parent. */
  leaveOut(clusters: number): void {
    this.#total -= clusters
  }

  /** Clusters that the scan has archived. */
  get scanned(): number {
    return this.#scanned
  }

  countScanned(clusters: number): void {
    this.#scanned += clusters
  }

  /** `reads`: how often old data was read from the disk for these clusters. */
  countCopied(clusters: number, reads = 0): void {
    this.#copied += clusters
    this.#reads += reads
  }

  /** Counts old data that goes to the archive before the guest overwrites it. */
  countArchived(run: Run): void {
    this.#archived++
    this.#counters.add('done', run.count * CLUSTER_SIZE)
  }

  get status(): GuestStatus {
    const budget = this.#budget
    const { figures } = this.waiting
    return {
      since: this.since,
      clusters: { total: this.#total, scanned: this.#scanned, copied: this.#copied },
      copies: { reads: this.#reads, archived: this.#archived, requests: figures.count },
      waiting: figures,
      buffer: {
        used: budget?.used ?? 0,
        size: budget?.total ?? 0,
        highest: budget?.highWater ?? 0,
        full: budget?.fullSince ?? null,
      },
      counters: this.#counters.toJSON(),
    }
  }

  /** How far the backup has come, in words. */
  get reached(): string {
    return `${this.#scanned + this.#copied} of ${this.#total} clusters were archived`
  }

  /** Says that a guest's write has waited for `waited` of `allowed` milliseconds, and that this ends the backup. */
  stalled(waited: number, allowed: number, hint: string): VmapipeError {
    const { used, size } = this.status.buffer
    const message = `a guest's write has waited ${Math.round(waited)} ms for the archive, ${allowed} are allowed: the backup was given up (${this.reached}, ${used} of ${size} bytes of the buffer were full)`
    return new VmapipeError('FAILED', message, { hint })
  }
}
