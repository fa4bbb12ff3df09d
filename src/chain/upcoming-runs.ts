/**
 * The runs of a plan, in order. In the order of the drives, the clusters of an incremental archive are far apart, and there is no memory for a
 * frame of each archive of a chain: a frame would be decoded again for almost each cluster. So when it is decoded for one of them, those
 * that come soon are read before their turn.
 */

import type { LayeredRun } from '../access/layers.ts'
import type { Budget } from '../core/budget.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { DriveInfo } from '../core/items.ts'
import { type ReadRun, readRun } from './run-reader.ts'

export interface Planned extends LayeredRun {
  info: DriveInfo
  /** The run, if it is read before its turn. */
  early?: Promise<ReadRun>
}

/** The most runs to look ahead, if few of them are of incremental archives. */
const MOST_AHEAD = 4096

export class UpcomingRuns {
  readonly #plan: Iterator<Planned>
  /** For runs that are read before their turn. Nobody waits for it. Null if none are. */
  readonly #memory: Budget | null
  readonly #ahead: Planned[] = []
  /** Bytes of the runs ahead that may be read before their turn. They all fit into the memory, so that each archive has its share. */
  #bytes = 0

  constructor(plan: Iterator<Planned>, memory: Budget | null) {
    this.#plan = plan
    this.#memory = memory
  }

  next(): Planned | undefined {
    const memory = this.#memory
    if (memory === null) return this.#plan.next().value
    this.#look(memory.capacity)
    const next = this.#ahead.shift()
    if (next === undefined || !isScattered(next)) return next
    this.#bytes -= bytesOf(next)
    if (next.early === undefined) this.#readWith(next, memory)
    return next
  }

  async close(): Promise<void> {
    for (const { early } of this.#ahead.splice(0)) (await early?.catch(() => null))?.run.release()
  }

  #look(most: number): void {
    while (this.#ahead.length < MOST_AHEAD && this.#bytes <= most) {
      const { value: planned, done } = this.#plan.next()
      if (done) return
      this.#ahead.push(planned)
      if (isScattered(planned)) this.#bytes += bytesOf(planned)
    }
  }

  /** Reads the runs ahead whose data is decoded with that of this one. */
  #readWith({ layer: { parts }, extent }: Planned, memory: Budget): void {
    for (const run of this.#ahead) {
      if (run.layer.parts !== parts || !isScattered(run) || run.early !== undefined) continue
      if (!parts.data.isDecodedWith(extent, run.extent)) continue
      const slab = memory.tryTake(bytesOf(run))
      if (slab === null) return
      run.early = readRun(run.info, run, Promise.resolve(slab))
      // It may fail long before its turn, and must not count as unhandled until then.
      run.early.catch(() => {})
    }
  }
}

/** Whether the run is data of an archive that is not the oldest. Of the oldest, the clusters of an extent follow each other closely. */
function isScattered({ layer, extent, stored }: Planned): boolean {
  return stored && extent >= 0 && layer.base > 0
}

/** The memory for the data of a run. */
export function bytesOf({ first, end, stored }: Planned): number {
  return stored ? (end - first) * CLUSTER_SIZE : 0
}
