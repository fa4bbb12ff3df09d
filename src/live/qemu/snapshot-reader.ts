/** A drive of a running guest as the scan reads it: QEMU's export of the point in time, which is trimmed behind the scan. */

import type { ClusterSet } from '../../core/cluster-set.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'
import type { NbdClient } from '../../protocol/nbd/client.ts'
import type { ChangedReader } from '../../stages/cluster-source/changed.ts'
import type { ClaimedReader, ClusterClaims } from '../../stages/cluster-source/claims.ts'
import { nbdExtents } from '../../storage/disks/nbd-disk.ts'
import type { DriveExtent } from '../../storage/drive.ts'
import type { PushTarget } from './push-target.ts'

interface SnapshotHost {
  /** Resolves with the connection to the point in time, once there is one; null if all is pushed. */
  pull(): Promise<NbdClient | null>
  /** Why all of it is read, if only the clusters that have changed were wanted. */
  whole(): string | null
  /** After `pull`: the clusters that can be read; null if all can. */
  changed(): ClusterSet | null
  /** Explains the error of a read. */
  explain(error: unknown): Promise<unknown>
  fail(error: unknown): void
}

export class SnapshotReader implements ClaimedReader, ChangedReader {
  readonly size: number
  readonly claims: ClusterClaims
  readonly #host: SnapshotHost
  #client: NbdClient | null = null

  constructor(target: PushTarget, host: SnapshotHost) {
    this.size = target.size
    this.#host = host
    this.claims = {
      free: (first, count) => (this.#client === null ? 0 : target.free(first, count)),
      claim: (first, count, most) => (this.#client === null ? [] : target.claim(first, count, most)),
      settle: (first, count) => {
        const kept = target.settle(first, count)
        this.#release(first, count)
        return kept
      },
    }
  }

  /** The point in time is made now, if it is not there yet. */
  async changed(): Promise<ClusterSet | null> {
    this.#client = await this.#host.pull()
    return this.#host.changed()
  }

  whole(): string | null {
    return this.#host.whole()
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    this.#client = await this.#host.pull()
    if (this.#client === null) yield { offset, length, zero: false }
    else yield* this.#explained(this.#extents(offset, length))
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    try {
      await this.#client!.read(buffer, offset)
    } catch (error) {
      throw await this.#host.explain(error)
    }
  }

  /** Does nothing: the backup closes the connection when it takes its nodes out of QEMU. */
  async close(): Promise<void> {}

  /** QEMU answers for changed clusters only. The rest is left out by its claims, so it may be called zero. */
  async *#extents(offset: number, length: number): AsyncGenerator<DriveExtent> {
    const changed = this.#host.changed()
    if (changed === null) return yield* nbdExtents(this.#client!, offset, length)
    const end = offset + length
    for (let at = offset; at < end; ) {
      const cluster = Math.floor(at / CLUSTER_SIZE)
      const stop = Math.min(end, changed.runEnd(cluster, changed.size) * CLUSTER_SIZE)
      if (changed.has(cluster)) yield* nbdExtents(this.#client!, at, stop - at)
      else yield { offset: at, length: stop - at, zero: true }
      at = stop
    }
  }

  async *#explained(extents: AsyncIterable<DriveExtent>): AsyncGenerator<DriveExtent> {
    try {
      yield* extents
    } catch (error) {
      throw await this.#host.explain(error)
    }
  }

  /**
   * Trims clusters, so that the guest's writes to them are not copied any more. Whole clusters only: a TRIM of less aborts QEMU 7.2,
   * and a TRIM of the last, partial cluster does nothing in 10.0. The guest's first write to that one is a push, which is dropped.
   */
  #release(first: number, count: number): void {
    const from = first * CLUSTER_SIZE
    const end = Math.min((first + count) * CLUSTER_SIZE, this.size - (this.size % CLUSTER_SIZE))
    if (end <= from) return
    this.#client!.trim(from, end - from).catch(async (error) => this.#host.fail(await this.#host.explain(error)))
  }
}
