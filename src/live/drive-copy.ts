/**
 * The copy of one drive at one point in time, while it is being archived. The scan or a guest's write claims each cluster once and
 * reads it once. A cluster is settled when its old data is in memory: from then on it may be overwritten.
 */

import type { Budget, Lease, Slab } from '../core/budget.ts'
import type { ClusterRange } from '../core/cluster-set.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, roundUp } from '../core/geometry.ts'
import { EMPTY_RUN_BYTES, Run } from '../core/items.ts'
import type { ClaimedReader, ClusterClaims } from '../stages/cluster-source/claims.ts'
import type { Disk, Done, ReadOptions } from '../storage/disk.ts'
import type { DriveExtent } from '../storage/drive.ts'
import { ClusterStates, type Clusters, type UnfinishedWrite } from './cluster-states.ts'
import type { GuestFigures } from './guest-figures.ts'
import type { Wait } from './waiting.ts'

/** The most clusters that one read copies (1 MiB): a larger read would keep other requests waiting. */
const COPY_CLUSTERS = 16

/** Clusters of a long zero or trim that are copied at a time (4 MiB), so that it never takes the whole buffer. */
const LONG_CLUSTERS = 64

/** What the copies of all drives share: the backup that they belong to. */
export interface CopyHost {
  readonly budget: Budget
  /** Milliseconds that a guest's request may wait. */
  readonly maxStall: number
  readonly figures: GuestFigures
  emit(run: Run): void
  /** Ends the backup, which cannot go on, and with it every wait. */
  fail(error: unknown): void
}

export class DriveCopy implements ClusterClaims {
  readonly #disk: Disk
  readonly #drive: number
  readonly #host: CopyHost
  readonly #clusters: ClusterStates
  readonly #copies = new Set<Promise<void>>()
  /** What the scan has to wait for before it reads anything, and whether it is done. */
  #before: Promise<void> = Promise.resolve()
  #isAtPoint = false
  #over = false
  /** The clusters that are archived; null for all. */
  #wanted: Clusters | null = null
  /** A backup waits no longer for a disk's server that is away than a guest may wait for the backup. The guest waits on. */
  #reading: ReadOptions

  /** `disk`: below the guest drive, so that no read of the backup counts as one of the guest. `drive`: dev_id of the archive. */
  constructor(disk: Disk, drive: number, host: CopyHost) {
    this.#disk = disk
    this.#drive = drive
    this.#host = host
    this.#reading = { patience: host.maxStall }
    this.#clusters = new ClusterStates(disk.size)
  }

  /** Writes that the disk was given before the point in time, and has not done, belong to it. */
  waitFor(writes: readonly UnfinishedWrite[]): void {
    this.#before = this.#clusters.waitFor(writes).then(() => {
      this.#isAtPoint = true
    })
  }

  /** At the point in time: only these clusters are archived. Writes to others do not wait. */
  limitTo(wanted: Clusters): void {
    this.#wanted = wanted
    this.#clusters.limitTo(wanted)
  }

  /** Whether the old data of all these clusters is in memory, or the backup has ended and does not need it. */
  has(first: number, last: number): boolean {
    return this.#over || this.#clusters.areSettled(first, last)
  }

  // The scan

  /** The drive as the scan reads it: from the point in time on, cluster by cluster as it can claim them. */
  get reader(): ClaimedReader & { changed(): Clusters | null } {
    return {
      size: this.#disk.size,
      claims: this,
      changed: () => this.#wanted,
      map: (offset, length) => this.#survey(offset, length),
      read: async (buffer, offset) => {
        await this.#disk.read(buffer, offset, this.#reading)
      },
      // The disk remains the guest's.
      close: async () => {},
    }
  }

  async *#survey(offset: number, length: number): AsyncGenerator<DriveExtent> {
    await this.#before
    yield* this.#disk.survey?.(offset, length) ?? this.#disk.map(offset, length, this.#reading)
  }

  free(first: number, count: number): number {
    return this.#clusters.free(first, count)
  }

  claim(first: number, count: number, most: number): ClusterRange[] {
    return this.#clusters.claim(first, first + count - 1, most)
  }

  settle(first: number, count: number): ClusterRange[] {
    this.#clusters.settle(first, count)
    this.#host.figures.countScanned(count)
    return [{ first, count }]
  }

  // The guest

  /** A request begins to wait for `secure`; `since` if it has been waiting already. */
  waits(since?: number): Wait {
    return this.#host.figures.waiting.begin(since)
  }

  /** Whether requests of the guest wait, for this drive or for another one of the backup. */
  get isHolding(): boolean {
    return this.#host.figures.waiting.now > 0
  }

  get maxStall(): number {
    return this.#host.maxStall
  }

  /** Whether these are so many clusters that they are secured in parts. */
  isLong(first: number, last: number): boolean {
    return last - first >= LONG_CLUSTERS
  }

  /** Copies the old data of these clusters. Undefined if nothing had to be awaited; otherwise resolves when it is done or the backup has ended. Never fails. */
  secure(first: number, last: number): Done {
    this.#copyFree(first, last)
    return this.has(first, last) ? undefined : this.#secured(first, last)
  }

  /**
   * Does the same from `first` on for as many clusters as are best done at once: all of them if they are a hole, otherwise a few.
   * Resolves with the last cluster that it is done for.
   */
  async secureSome(first: number, last: number): Promise<number> {
    const to =
      this.isLong(first, last) && (await this.#archiveHole(first, last))
        ? last
        : Math.min(last, first + LONG_CLUSTERS - 1)
    await this.secure(first, to)
    return to
  }

  /**
   * False if the range is not known to be a hole. Free clusters of a hole remain a hole, because a write claims them first. So
   * nothing is claimed while this waits, however long the hole is.
   */
  async #archiveHole(first: number, last: number): Promise<boolean> {
    if (this.#over || !this.#isAtPoint) return false
    try {
      if (!(await this.#isHole(...this.#bytesOf(first, last - first + 1)))) return false
      const lease = await this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
      if (!this.#over) for (const range of this.#clusters.claim(first, last)) this.#emitHole(range, lease.retain())
      lease.release()
    } catch (error) {
      this.#host.fail(error)
    }
    return true
  }

  async #secured(first: number, last: number): Promise<void> {
    while (!this.has(first, last)) {
      this.#copyFree(first, last)
      // Waits for its own copies too, for those of other requests, and for reads of the scan.
      await this.#clusters.passed(first, last)
    }
  }

  /** Resolves when no copy is under way. */
  async settled(): Promise<void> {
    while (this.#copies.size > 0) await Promise.all(this.#copies)
  }

  /** Opens every gate: all waiting requests continue. */
  end(): void {
    this.#over = true
    this.#reading = { patience: 0 }
    this.#clusters.end()
  }

  #copyFree(first: number, last: number): void {
    for (const range of this.#clusters.claim(first, last, undefined, COPY_CLUSTERS)) this.#start(range)
  }

  #start(range: ClusterRange): void {
    try {
      const done = this.#copy(range)
      if (done === undefined) return
      const copy = done.catch((error) => this.#host.fail(error)).finally(() => this.#copies.delete(copy))
      this.#copies.add(copy)
    } catch (error) {
      this.#host.fail(error)
    }
  }

  #copy(range: ClusterRange): Done {
    const [offset, length] = this.#bytesOf(range.first, range.count)
    const hole = this.#isHole(offset, length)
    if (typeof hole !== 'boolean') return hole.then((known) => this.#copyKnown(range, offset, length, known))
    return this.#copyKnown(range, offset, length, hole)
  }

  #isHole(offset: number, length: number): boolean | Promise<boolean> {
    return this.#disk.isHole?.(offset, length) ?? this.#mapsHole(offset, length)
  }

  async #mapsHole(offset: number, length: number): Promise<boolean> {
    for await (const { zero } of this.#disk.map(offset, length, this.#reading)) if (!zero) return false
    return true
  }

  #bytesOf(first: number, count: number): [offset: number, length: number] {
    const offset = first * CLUSTER_SIZE
    return [offset, Math.min(count * CLUSTER_SIZE, this.#disk.size - offset)]
  }

  #copyKnown(range: ClusterRange, offset: number, length: number, hole: boolean): Done {
    if (this.#over) return undefined
    if (hole) {
      const lease = this.#host.budget.tryCharge(EMPTY_RUN_BYTES, { urgent: true })
      if (lease !== null) return this.#emitHole(range, lease)
      const charged = this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
      return charged.then((later) => this.#emitHole(range, later))
    }
    const bytes = roundUp(length, BLOCK_SIZE)
    const slab = this.#host.budget.tryTake(bytes, { urgent: true })
    if (slab !== null) return this.#read(range, offset, length, slab)
    return this.#host.budget.take(bytes, { urgent: true }).then((later) => this.#read(range, offset, length, later))
  }

  #emitHole(range: ClusterRange, lease: Lease): Done {
    if (this.#over) {
      lease.release()
      return undefined
    }
    this.#host.emit(new Run(this.#drive, range.first, range.count, [], null, [lease]))
    return this.#done(range, false)
  }

  #read(range: ClusterRange, offset: number, length: number, slab: Slab): Done {
    const failed = (error: unknown) => {
      slab.release()
      throw error
    }
    try {
      const done = this.#disk.read(slab.buffer.subarray(0, length), offset, this.#reading)
      if (done !== undefined) return done.then(() => this.#archive(range, length, slab), failed)
    } catch (error) {
      failed(error)
    }
    return this.#archive(range, length, slab)
  }

  #archive(range: ClusterRange, length: number, slab: Slab): Done {
    slab.buffer.fill(0, length)
    if (this.#over) {
      slab.release()
      return undefined
    }
    this.#host.emit(new Run(this.#drive, range.first, range.count, [slab.buffer], null, [slab]))
    return this.#done(range, true)
  }

  #done({ first, count }: ClusterRange, read: boolean): Done {
    this.#clusters.settle(first, count)
    this.#host.figures.countCopied(count, read ? 1 : 0)
    return undefined
  }
}
