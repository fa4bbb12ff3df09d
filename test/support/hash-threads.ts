/** Threads that hash clusters, which begin by themselves only after there was much to hash. */

import { clusterHashing } from '../../src/codecs/hashing/cluster-hashing.ts'
import { addresses } from '../../src/system/addresses.ts'
import { until } from '../storage/archive/processes.ts'

/** Options of runs that hash beside the event loop, on any machine. */
export const BESIDE = { threads: 4 }

/** Options of runs that hash in the event loop. */
export const INSIDE = { threads: 1 }

/** For `skip` of a test. */
export const noHashThreads = addresses() === null && 'koffi cannot be loaded'

/** From now on, runs with the options BESIDE hash many clusters beside the event loop. */
export async function beginHashThreads(): Promise<void> {
  const hashing = await clusterHashing(BESIDE.threads)
  const memory = Buffer.alloc(64 << 16)
  const clusters = { masks: new Array(64).fill(0xffff), blocks: [memory], leases: [] }
  for (let bytes = 0; bytes <= 128 << 20; bytes += memory.length) await hashing.hashes(clusters)
  await until(() => hashing.isBeside, 'a thread that hashes')
}
