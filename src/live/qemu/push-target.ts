/**
 * One drive at one point in time, as QEMU pushes it to us: the disk behind an NBD export. What QEMU writes to it is old data that
 * the guest is about to overwrite. The reply lets the guest continue, so it is sent as soon as the data is in memory. That wait for
 * memory is the throttle. All other requests are answered at once: a flush that waits would stop the whole guest.
 *
 * Scan or push: the first to have a cluster's old data in memory archives it. A push of a cluster that is there already is dropped,
 * and a push that waits for memory is answered if the scan was faster.
 */

import type { Budget, Lease, Slab } from '../../core/budget.ts'
import { type ClusterRange, ClusterSet } from '../../core/cluster-set.ts'
import { VmapipeError } from '../../core/errors.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount, roundUp } from '../../core/geometry.ts'
import { EMPTY_RUN_BYTES, Run } from '../../core/items.ts'
import type { ServedDisk } from '../../protocol/nbd/server/export.ts'
import type { ClusterClaims } from '../../stages/cluster-source/claims.ts'
import type { Done } from '../../storage/disk.ts'
import type { DriveExtent } from '../../storage/drive.ts'

/** What a push needs of the backup that it belongs to. */
export interface PushHost {
  readonly budget: Budget
  emit(run: Run): void
  /** Ends the backup, which cannot go on, and with it every wait. */
  fail(error: unknown): void
  /** A push begins to wait. The result is to be called when it is answered. */
  waits(): () => void
  pushed(clusters: number): void
  scanned(clusters: number): void
}

export class PushTarget implements ServedDisk, ClusterClaims {
  readonly size: number
  readonly readOnly = false
  readonly #drive: number
  readonly #host: PushHost
  readonly #settled: ClusterSet
  /** Pushes that wait for memory. */
  readonly #waiting = new Set<{ range: ClusterRange; go: () => void }>()
  /** Clusters that do not come, beside those that count as settled. */
  #absent = 0
  #over = false
  readonly #whole = Promise.withResolvers<void>()

  /** `drive`: dev_id of the archive; `size` in bytes. */
  constructor(drive: number, size: number, host: PushHost) {
    this.#drive = drive
    this.size = size
    this.#host = host
    this.#settled = new ClusterSet(clusterCount(size))
  }

  /** Resolves when every cluster has come, by scan or push. Never if the backup ends before. */
  get whole(): Promise<void> {
    return this.#whole.promise
  }

  /**
   * Says what has changed since the parent, after the point in time. All else does not come: QEMU neither pushes it nor lets it be read.
   * A number, if nothing is read and only QEMU knows which clusters these are. Returns the number of those that do not come.
   */
  expect(changed: ClusterSet | number): number {
    if (typeof changed === 'number') this.#absent = Math.max(0, this.#settled.size - changed)
    else for (const { first, count } of changed.ranges(false)) this.#settled.include(first, count)
    this.#checkWhole()
    return this.#settled.size - (typeof changed === 'number' ? changed : changed.count)
  }

  /** Answers all waiting pushes. From now on nothing is kept, and everything is answered at once. */
  end(): void {
    this.#over = true
    for (const { go } of this.#waiting) go()
  }

  // What QEMU does

  write(buffers: readonly Uint8Array[], offset: number): Done {
    const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const range = this.#wanted(offset, length)
    if (range === null) return undefined
    const answer = this.#host.waits()
    const room = roundUp(length, BLOCK_SIZE)
    const keep = (slab: Slab) => {
      fill(slab.buffer, buffers)
      this.#archive(range, slab, slab.buffer)
    }
    const slab = this.#host.budget.tryTake(room)
    if (slab === null) return this.#later(range, () => this.#host.budget.take(room, { urgent: true }), keep, answer)
    keep(slab)
    answer()
    return undefined
  }

  zero(offset: number, length: number): Done {
    const range = this.#wanted(offset, length)
    if (range === null) return undefined
    const charge = () => this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
    return this.#later(range, charge, (lease) => this.#archive(range, lease, null), this.#host.waits())
  }

  /**
   * QEMU reads what it has pushed only for a reader of the snapshot. That is our scan, which throws this data away: so zeroes will do.
   */
  read(buffer: Uint8Array): Done {
    buffer.fill(0)
    return undefined
  }

  trim(): Done {
    return undefined
  }

  flush(): Done {
    return undefined
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    yield { offset, length, zero: false }
  }

  // What the scan does. All clusters that have not come are free, also those that are being pushed

  free(first: number, count: number): number {
    return this.#missing(first, count).reduce((sum, range) => sum + range.count, 0)
  }

  claim(first: number, count: number, most: number): ClusterRange[] {
    const claimed: ClusterRange[] = []
    let left = most
    for (const range of this.#missing(first, count)) {
      if (left === 0) break
      claimed.push({ first: range.first, count: Math.min(left, range.count) })
      left -= claimed.at(-1)!.count
    }
    return claimed
  }

  settle(first: number, count: number): ClusterRange[] {
    const missing = this.#missing(first, count)
    for (const range of missing) this.#host.scanned(range.count)
    this.#settle(missing)
    for (const { range, go } of this.#waiting) if (this.#has(range)) go()
    return missing
  }

  /** The clusters that are written; null if none of them is needed. */
  #wanted(offset: number, length: number): ClusterRange | null {
    if (this.#over || length === 0) return null
    const end = offset + length
    if (offset % CLUSTER_SIZE !== 0 || (end % CLUSTER_SIZE !== 0 && end !== this.size)) {
      this.#host.fail(
        new VmapipeError('FAILED', `QEMU pushed ${length} bytes at byte ${offset}, which are not whole clusters`),
      )
      return null
    }
    const first = offset / CLUSTER_SIZE
    const range = { first, count: clusterCount(end) - first }
    return this.#has(range) ? null : range
  }

  async #later<L extends Lease>(
    range: ClusterRange,
    take: () => Promise<L>,
    keep: (lease: L) => void,
    answer: () => void,
  ): Promise<void> {
    try {
      const lease = await this.#unlessNeedless(range, take())
      if (lease === null) return
      if (this.#over) lease.release()
      else keep(lease)
    } catch (error) {
      if (!this.#over) this.#host.fail(error)
    } finally {
      answer()
    }
  }

  /** Null if the scan was first or the backup has ended: memory that comes after that is given back. */
  async #unlessNeedless<L extends Lease>(range: ClusterRange, taken: Promise<L>): Promise<L | null> {
    const needless = Promise.withResolvers<null>()
    const waiter = { range, go: () => needless.resolve(null) }
    this.#waiting.add(waiter)
    const lease = await Promise.race([taken, needless.promise]).finally(() => this.#waiting.delete(waiter))
    if (lease === null) {
      taken.then(
        (late) => late.release(),
        () => {},
      )
    }
    return lease
  }

  /** Takes over the lease. `bytes` are those of the whole range; null for zeroes. */
  #archive({ first, count }: ClusterRange, lease: Lease, bytes: Buffer | null): void {
    const missing = this.#missing(first, count)
    this.#settle(missing)
    for (const kept of missing) {
      const at = (kept.first - first) * CLUSTER_SIZE
      const blocks = bytes === null ? [] : [bytes.subarray(at, at + kept.count * CLUSTER_SIZE)]
      this.#host.emit(new Run(this.#drive, kept.first, kept.count, blocks, null, [lease.retain()]))
      this.#host.pushed(kept.count)
    }
    lease.release()
  }

  #has({ first, count }: ClusterRange): boolean {
    for (let cluster = first; cluster < first + count; cluster++) if (!this.#settled.has(cluster)) return false
    return true
  }

  #missing(first: number, count: number): ClusterRange[] {
    const missing: ClusterRange[] = []
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.#settled.has(cluster)) continue
      const last = missing.at(-1)
      if (last !== undefined && last.first + last.count === cluster) last.count++
      else missing.push({ first: cluster, count: 1 })
    }
    return missing
  }

  #settle(ranges: ClusterRange[]): void {
    for (const { first, count } of ranges) this.#settled.addRange(first, count)
    this.#checkWhole()
  }

  #checkWhole(): void {
    if (this.#settled.count + this.#absent >= this.#settled.size) this.#whole.resolve()
  }
}

/** Copies the buffers, and zeroes the rest of the last block. */
function fill(into: Buffer, buffers: readonly Uint8Array[]): void {
  let at = 0
  for (const buffer of buffers) {
    into.set(buffer, at)
    at += buffer.byteLength
  }
  into.fill(0, at)
}
