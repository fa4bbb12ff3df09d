/** Asks a QEMU again and again how long the writes of its guest take (`query-blockstats`). It delays nothing: an answer that does not come is left out. */

import { setTimeout as sleep } from 'node:timers/promises'
import { isObject } from '../../protocol/json.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import type { WriteTimes } from '../write-times.ts'

/** Milliseconds between two looks. A shared monitor belongs to others most of the time, and libvirt's is asked by a process each time. */
const LOOK_MS = { events: 1000, asked: 5000, shared: 5000 }

export interface WriteWatch {
  /** Asks nothing while `work` goes on, such as the moment in which the point in time is set. */
  without<T>(work: () => Promise<T>): Promise<T>
  stop(): void
}

/** Begins with a look at once. `tell` is called with each answer. */
export function watchWrites(qmp: QmpClient, tell: (times: WriteTimes) => void): WriteWatch {
  const end = new AbortController()
  let resting = 0
  const look = async () => {
    if (resting > 0) return
    const times = await writeTimes(qmp).catch(() => null)
    if (times !== null && !end.signal.aborted) tell(times)
  }
  const watch = async () => {
    while (!end.signal.aborted) {
      await look()
      await sleep(LOOK_MS[qmp.watching], undefined, { signal: end.signal, ref: false }).catch(() => {})
    }
  }
  void watch()
  return {
    async without(work) {
      resting++
      try {
        return await work()
      } finally {
        resting--
      }
    },
    stop: () => end.abort(),
  }
}

/** Of all drives of the guest; null if QEMU does not count them. */
async function writeTimes(qmp: QmpClient): Promise<WriteTimes | null> {
  const drives = await qmp.execute('query-blockstats')
  if (!Array.isArray(drives)) return null
  const sum = { writes: 0, milliseconds: 0 }
  for (const drive of drives) {
    const stats = isObject(drive) ? drive.stats : undefined
    if (!isObject(stats)) continue
    const { wr_operations: writes, wr_total_time_ns: nanoseconds } = stats
    if (typeof writes !== 'number' || typeof nanoseconds !== 'number') continue
    sum.writes += writes
    sum.milliseconds += nanoseconds / 1e6
  }
  return sum
}
