/** Parents of incremental backups that are not archives. */

import { Counters } from '../../src/core/counters.ts'
import { CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { Run } from '../../src/core/items.ts'
import { clusterHasher, HASH_BYTES } from '../../src/formats/vma/cluster-hash.ts'
import type { Parent, ParentDrive, StateRange } from '../../src/stages/change-filter/parent.ts'
import { elide } from '../../src/stages/zero-elider.ts'

const record = { uuid: Buffer.alloc(16, 3), end: Buffer.alloc(16, 4), ctime: 1 }

/** A parent of these images. */
export async function memoryParent(
  images: Record<string, Buffer>,
  { unknown = new Set<number>() } = {},
): Promise<Parent> {
  const hasher = await clusterHasher()
  const drives = new Map<string, ParentDrive>()
  for (const [name, image] of Object.entries(images)) {
    const clusters = clusterCount(image.length)
    const run = elide(new Run(1, 0, clusters, [image]), new Counters())
    const masks = run.masks ?? new Uint16Array(clusters)
    const hashes = run.isZero ? new Uint8Array(clusters * HASH_BYTES) : hasher.hashes(masks, run.blocks)
    drives.set(name, {
      clusters,
      *states(first, count): Generator<StateRange> {
        for (let at = first; at < first + count; at++) {
          yield { first: at, count: 1, state: unknown.has(at) ? 'unknown' : masks[at] === 0 ? 'zero' : 'stored' }
        }
      },
      hashes: async (first, count) => hashes.slice(first * HASH_BYTES, (first + count) * HASH_BYTES),
    })
  }
  return { record, drive: (name) => drives.get(name) ?? null }
}

/** A drive of 16 TiB with 4 MiB of data in each TiB: all of its bytes are 1. */
const EVERY = 1024 ** 4
const DATA = 4 << 20
export const SPARSE = {
  size: 16 * EVERY,
  async *map(offset: number, length: number) {
    for (let at = offset; at < offset + length; at += EVERY) {
      yield { offset: at, length: DATA, zero: false }
      yield { offset: at + DATA, length: EVERY - DATA, zero: true }
    }
  },
  async parent(name: string): Promise<Parent> {
    const hash = (await clusterHasher()).digest(Buffer.alloc(CLUSTER_SIZE, 1)).slice()
    const [every, data] = [EVERY / CLUSTER_SIZE, DATA / CLUSTER_SIZE]
    const drive: ParentDrive = {
      clusters: 16 * every,
      *states(first, count): Generator<StateRange> {
        for (let at = first; at < first + count; ) {
          const within = at % every
          const end = Math.min(first + count, at - within + (within < data ? data : every))
          yield { first: at, count: end - at, state: within < data ? 'stored' : 'zero' }
          at = end
        }
      },
      hashes: async (_, count) => Buffer.concat(Array.from({ length: count }, () => hash)),
    }
    return { record, drive: (wanted) => (wanted === name ? drive : null) }
  },
}
