/**
 * One drive at one point in time, as QEMU pushes it to us: the disk behind an NBD export. What is written to it is old
 * data that the guest is about to overwrite; the reply lets the guest go on, so it comes as soon as the data is in
 * memory. That wait for memory is the throttle. Whatever is not a copy is answered at once: a flush that waits would
 * stop the guest as a whole.
 *
 * The first to have a cluster's old data in memory archives it, scan or push: a push of a cluster that is there is
 * dropped, one that waits for memory goes on when the scan was faster.
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
  /** The backup cannot go on; it ends, and with it every wait. */
  fail(error: unknown): void
  /** A push begins to wait; to be called when it is answered. */
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
  readonly #waiting = new Set<{ stretch: ClusterRange; go: () => void }>()
  #over = false
  readonly #whole = Promise.withResolvers<void>()

  /** `drive`: dev_id of the archive; `size` in bytes. */
  constructor(drive: number, size: number, host: PushHost) {
    this.#drive = drive
    this.size = size
    this.#host = host
    this.#settled = new ClusterSet(clusterCount(size))
  }

  /** Resolves when every cluster has come, one way or the other. Not when it is over before. */
  get whole(): Promise<void> {
    return this.#whole.promise
  }

  /** Whoever waits goes on; nothing is kept any more, and everything is answered at once. */
  end(): void {
    this.#over = true
    for (const { go } of this.#waiting) go()
  }

  // What QEMU does

  write(buffers: readonly Uint8Array[], offset: number): Done {
    const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const stretch = this.#wanted(offset, length)
    if (stretch === null) return undefined
    const answer = this.#host.waits()
    const room = roundUp(length, BLOCK_SIZE)
    const keep = (slab: Slab) => {
      fill(slab.buffer, buffers)
      this.#archive(stretch, slab, slab.buffer)
    }
    const slab = this.#host.budget.tryTake(room)
    if (slab === null) return this.#later(stretch, () => this.#host.budget.take(room, { urgent: true }), keep, answer)
    keep(slab)
    answer()
    return undefined
  }

  zero(offset: number, length: number): Done {
    const stretch = this.#wanted(offset, length)
    if (stretch === null) return undefined
    const charge = () => this.#host.budget.charge(EMPTY_RUN_BYTES, undefined, { urgent: true })
    return this.#later(stretch, charge, (lease) => this.#archive(stretch, lease, null), this.#host.waits())
  }

  /**
   * QEMU reads here what it has pushed here, and only for somebody who reads the snapshot: that is our scan, which
   * throws away what was pushed.
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

  // What the scan does: all that is not there yet is free, also what is being pushed

  free(first: number, count: number): number {
    return this.#missing(first, count).reduce((sum, stretch) => sum + stretch.count, 0)
  }

  claim(first: number, count: number, most: number): ClusterRange[] {
    const claimed: ClusterRange[] = []
    let left = most
    for (const stretch of this.#missing(first, count)) {
      if (left === 0) break
      claimed.push({ first: stretch.first, count: Math.min(left, stretch.count) })
      left -= claimed.at(-1)!.count
    }
    return claimed
  }

  settle(first: number, count: number): ClusterRange[] {
    const missing = this.#missing(first, count)
    for (const stretch of missing) this.#host.scanned(stretch.count)
    this.#settle(missing)
    for (const { stretch, go } of this.#waiting) if (this.#has(stretch)) go()
    return missing
  }

  /** The clusters that are written, where somebody wants them. */
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
    const stretch = { first, count: clusterCount(end) - first }
    return this.#has(stretch) ? null : stretch
  }

  async #later<L extends Lease>(
    stretch: ClusterRange,
    take: () => Promise<L>,
    keep: (lease: L) => void,
    answer: () => void,
  ): Promise<void> {
    try {
      const lease = await this.#unlessNeedless(stretch, take())
      if (lease === null) return
      if (this.#over) lease.release()
      else keep(lease)
    } catch (error) {
      if (!this.#over) this.#host.fail(error)
    } finally {
      answer()
    }
  }

  /** Null when the scan was there first, or it is all over: what comes then is given back. */
  async #unlessNeedless<L extends Lease>(stretch: ClusterRange, taken: Promise<L>): Promise<L | null> {
    const needless = Promise.withResolvers<null>()
    const waiter = { stretch, go: () => needless.resolve(null) }
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

  /** Takes over the lease. `bytes` are those of the whole stretch; null for zeroes. */
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

  #settle(stretches: ClusterRange[]): void {
    for (const { first, count } of stretches) this.#settled.addRange(first, count)
    if (this.#settled.count === this.#settled.size) this.#whole.resolve()
  }
}

/** Copies, and makes what is left of the last block zero. */
function fill(into: Buffer, buffers: readonly Uint8Array[]): void {
  let at = 0
  for (const buffer of buffers) {
    into.set(buffer, at)
    at += buffer.byteLength
  }
  into.fill(0, at)
}
