/**
 * One drive at one point in time, while it is being archived. Each cluster is claimed once, by the scan or by a
 * guest's write, read once, and settled when its old data is in memory: from then on it may be overwritten.
 */

import type { Budget, Lease, Slab } from '../core/budget.ts'
import { type ClusterRange, ClusterSet } from '../core/cluster-set.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount, roundUp } from '../core/geometry.ts'
import { EMPTY_RUN_BYTES, Run } from '../core/items.ts'
import type { ClusterClaims } from '../stages/cluster-source/claims.ts'
import type { Done } from '../storage/disk.ts'
import { Gate } from './gate.ts'
import type { Wait } from './waiting.ts'

/** Clusters that are copied with one read at most. */
const COPY_CLUSTERS = 16

/** Clusters of a long zero or trim that are copied at a time. */
const LONG_CLUSTERS = 64

/** A write that was given to the disk and is not done. */
export interface Modification {
  first: number
  last: number
  gate: Gate
}

/** What a copy needs of the drive: the data that its guest has not overwritten yet. */
export interface OldData {
  readonly size: number
  /** Whether it reads as zeroes alone. */
  oldIsHole(offset: number, length: number): boolean | Promise<boolean>
  readOld(buffer: Uint8Array, offset: number): Done
}

/** What a copy needs of the backup that it belongs to. */
export interface CopyHost {
  readonly budget: Budget
  /** Milliseconds that a guest's request may wait. */
  readonly maxStall: number
  emit(run: Run): void
  /** The backup cannot go on; it ends, and with it every wait. */
  fail(error: unknown): void
  /** A guest's request begins to wait, or has been waiting since then. */
  waits(since?: number): Wait
  /** Whether requests of the guest wait. */
  readonly isHolding: boolean
  copied(clusters: number, read: boolean): void
  scanned(clusters: number): void
}

export class DriveCopy implements ClusterClaims {
  readonly #disk: OldData
  readonly #drive: number
  readonly #host: CopyHost
  readonly #clusters: number
  readonly #settled: ClusterSet
  /** Clusters that somebody has claimed, or that a write from before the point in time still touches. */
  readonly #busy = new Map<number, Gate>()
  readonly #copies = new Set<Promise<void>>()
  /** What the scan has to wait for before it reads anything, and whether it is done. */
  #before: Promise<void> = Promise.resolve()
  #isAtPoint = false
  #over = false

  /** `drive`: dev_id of the archive. */
  constructor(disk: OldData, drive: number, host: CopyHost) {
    this.#disk = disk
    this.#drive = drive
    this.#host = host
    this.#clusters = clusterCount(disk.size)
    this.#settled = new ClusterSet(this.#clusters)
  }

  /**
   * Writes of before that are not done belong to the point in time: neither scan nor guest touches their clusters until
   * all of them are.
   */
  waitFor(modifications: readonly Modification[]): void {
    const gate = new Gate()
    for (const { first, last } of modifications) {
      for (let cluster = first; cluster <= last; cluster++) this.#busy.set(cluster, gate)
    }
    this.#before = Promise.all(modifications.map((modification) => modification.gate.passed())).then(() => {
      for (const { first, last } of modifications) this.#unclaim(first, last - first + 1)
      this.#isAtPoint = true
    })
  }

  /** Resolves when the disk is at the point in time. */
  get before(): Promise<void> {
    return this.#before
  }

  /** Whether the old data of all these clusters is safe, or nobody wants it any more. */
  has(first: number, last: number): boolean {
    if (this.#over) return true
    return this.#settled.hasRange(first, last - first + 1)
  }

  // The scan

  free(first: number, count: number): number {
    let free = 0
    for (let cluster = first; cluster < first + count; cluster++) if (this.#isFree(cluster)) free++
    return free
  }

  claim(first: number, count: number, most: number): ClusterRange[] {
    return this.#claim(first, first + count - 1, most)
  }

  settle(first: number, count: number): ClusterRange[] {
    this.#settle(first, count)
    this.#host.scanned(count)
    return [{ first, count }]
  }

  // The guest

  /** A request begins to wait for `secure`, or has been waiting since then. */
  waits(since?: number): Wait {
    return this.#host.waits(since)
  }

  get isHolding(): boolean {
    return this.#host.isHolding
  }

  get maxStall(): number {
    return this.#host.maxStall
  }

  /** Whether so many clusters are better secured in parts. */
  isLong(first: number, last: number): boolean {
    return last - first >= LONG_CLUSTERS
  }

  /** Done when the old data of these clusters is safe, or the backup is over: at once where that took no waiting. Never fails. */
  secure(first: number, last: number): Done {
    this.#copyFree(first, last)
    return this.has(first, last) ? undefined : this.#secured(first, last)
  }

  /**
   * The same from `first` on for as much as is best done at once: all of it if it is a hole, or a few clusters. The result
   * is the last cluster that it is done for.
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
   * False if it is not known to be a hole. A hole among clusters that nobody has claimed stays one: a write claims them first.
   * That is why nothing is claimed while this waits, however long the hole is.
   */
  async #archiveHole(first: number, last: number): Promise<boolean> {
    if (this.#over || !this.#isAtPoint) return false
    try {
      if (!(await this.#disk.oldIsHole(...this.#bytesOf(first, last - first + 1)))) return false
      const lease = await this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
      if (!this.#over)
        for (const stretch of this.#claim(first, last, last - first + 1)) this.#emitHole(stretch, lease.retain())
      lease.release()
    } catch (error) {
      this.#host.fail(error)
    }
    return true
  }

  async #secured(first: number, last: number): Promise<void> {
    while (!this.has(first, last)) {
      this.#copyFree(first, last)
      // Its own copies are among these, like those of others and reads of the scan.
      const gates = new Set<Gate>()
      for (let cluster = first; cluster <= last; cluster++) {
        const gate = this.#busy.get(cluster)
        if (gate !== undefined) gates.add(gate)
      }
      await Promise.all([...gates].map((gate) => gate.passed()))
    }
  }

  /** Resolves when no copy is under way. */
  async settled(): Promise<void> {
    while (this.#copies.size > 0) await Promise.all(this.#copies)
  }

  /** Everybody who waits goes on. */
  end(): void {
    this.#over = true
    for (const gate of new Set(this.#busy.values())) gate.open()
    this.#busy.clear()
  }

  #isFree(cluster: number): boolean {
    return !this.#settled.has(cluster) && !this.#busy.has(cluster)
  }

  /** Claims the free ones of `first` to `last`, at most `most`, in stretches of at most `longest` with a gate each. */
  #claim(first: number, last: number, most: number, longest = most): ClusterRange[] {
    const stretches: ClusterRange[] = []
    let gate = new Gate()
    let left = most
    for (let cluster = first; cluster <= last && left > 0; cluster++) {
      if (!this.#isFree(cluster)) continue
      const open = stretches.at(-1)
      if (open !== undefined && open.first + open.count === cluster && open.count < longest) open.count++
      else {
        stretches.push({ first: cluster, count: 1 })
        gate = new Gate()
      }
      this.#busy.set(cluster, gate)
      left--
    }
    return stretches
  }

  #settle(first: number, count: number): void {
    if (this.#over) return
    this.#settled.addRange(first, count)
    this.#unclaim(first, count)
  }

  /** Whoever waits looks again. */
  #unclaim(first: number, count: number): void {
    const gates = new Set<Gate>()
    for (let cluster = first; cluster < first + count; cluster++) {
      const gate = this.#busy.get(cluster)
      if (gate !== undefined) gates.add(gate)
      this.#busy.delete(cluster)
    }
    for (const gate of gates) gate.open()
  }

  #copyFree(first: number, last: number): void {
    for (const stretch of this.#claim(first, last, last - first + 1, COPY_CLUSTERS)) this.#start(stretch)
  }

  #start(stretch: ClusterRange): void {
    try {
      const done = this.#copy(stretch)
      if (done === undefined) return
      const copy = done.catch((error) => this.#host.fail(error)).finally(() => this.#copies.delete(copy))
      this.#copies.add(copy)
    } catch (error) {
      this.#host.fail(error)
    }
  }

  #copy(stretch: ClusterRange): Done {
    const [offset, length] = this.#bytesOf(stretch.first, stretch.count)
    const hole = this.#disk.oldIsHole(offset, length)
    if (typeof hole !== 'boolean') return hole.then((known) => this.#copyKnown(stretch, offset, length, known))
    return this.#copyKnown(stretch, offset, length, hole)
  }

  #bytesOf(first: number, count: number): [offset: number, length: number] {
    const offset = first * CLUSTER_SIZE
    return [offset, Math.min(count * CLUSTER_SIZE, this.#disk.size - offset)]
  }

  #copyKnown(stretch: ClusterRange, offset: number, length: number, hole: boolean): Done {
    if (this.#over) return undefined
    if (hole) {
      const lease = this.#host.budget.tryCharge(EMPTY_RUN_BYTES, { urgent: true })
      if (lease !== null) return this.#emitHole(stretch, lease)
      const charged = this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
      return charged.then((later) => this.#emitHole(stretch, later))
    }
    const bytes = roundUp(length, BLOCK_SIZE)
    const slab = this.#host.budget.tryTake(bytes, { urgent: true })
    if (slab !== null) return this.#read(stretch, offset, length, slab)
    return this.#host.budget.take(bytes, { urgent: true }).then((later) => this.#read(stretch, offset, length, later))
  }

  #emitHole(stretch: ClusterRange, lease: Lease): Done {
    if (this.#over) {
      lease.release()
      return undefined
    }
    this.#host.emit(new Run(this.#drive, stretch.first, stretch.count, [], null, [lease]))
    return this.#done(stretch, false)
  }

  #read(stretch: ClusterRange, offset: number, length: number, slab: Slab): Done {
    const failed = (error: unknown) => {
      slab.release()
      throw error
    }
    try {
      const done = this.#disk.readOld(slab.buffer.subarray(0, length), offset)
      if (done !== undefined) return done.then(() => this.#archive(stretch, length, slab), failed)
    } catch (error) {
      failed(error)
    }
    return this.#archive(stretch, length, slab)
  }

  #archive(stretch: ClusterRange, length: number, slab: Slab): Done {
    slab.buffer.fill(0, length)
    if (this.#over) {
      slab.release()
      return undefined
    }
    this.#host.emit(new Run(this.#drive, stretch.first, stretch.count, [slab.buffer], null, [slab]))
    return this.#done(stretch, true)
  }

  #done({ first, count }: ClusterRange, read: boolean): Done {
    this.#settle(first, count)
    this.#host.copied(count, read)
    return undefined
  }
}
