/**
 * Makes the root of a drive: BLAKE3 over the hashes of all its clusters, in order (formats/vma/README.md, section 5); a cluster of zeroes
 * counts as 16 zero bytes. Two archives, or chains, that have the same root for a drive hold the same disk.
 */

import { createBLAKE3 } from 'hash-wasm'
import { ArchiveHashes } from '../access/archive-hashes.ts'
import { type LayeredRun, layeredRuns } from '../access/layers.ts'
import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import type { DriveInfo, Run } from '../core/items.ts'
import { isZero } from '../core/zero.ts'
import { type ClusterHasher, clusterHasher, HASH_BYTES } from '../formats/vma/cluster-hash.ts'
import type { Chain } from './open-chain.ts'
import { readRun } from './run-reader.ts'

/** Clusters whose hashes are read at once. */
const AT_ONCE = 4096
/** Clusters whose data is read at once, of an archive without hashes. */
const DATA_AT_ONCE = 16

/** The root of one drive: see verifyChain. */
export interface DriveRoot {
  drive: string
  /** 64 hexadecimal digits. */
  root: string
}

interface RootOptions {
  /** Memory for the data of archives that have no hashes. */
  budget: Budget
  signal?: AbortSignal | undefined
}

/** The roots of all drives of a chain. Errors: DAMAGED, INCOMPLETE if a cluster is in none of its archives. */
export async function rootsOf(chain: Chain, { budget, signal }: RootOptions): Promise<DriveRoot[]> {
  const hashes = new Map<unknown, ArchiveHashes | null>()
  for (const { file } of chain.members) hashes.set(file.parts, await ArchiveHashes.of(file))
  const hasher = await clusterHasher()
  const roots: DriveRoot[] = []
  for (const info of chain.manifest.drives) {
    const root = await createBLAKE3()
    for (const run of layeredRuns(chain.layersOf(info), 0, clusterCount(info.size))) {
      signal?.throwIfAborted()
      if (run.extent < 0)
        throw new VmapipeError('INCOMPLETE', 'no archive of the chain has this cluster', {
          drive: info.name,
          cluster: run.first,
        })
      for await (const part of hashesOf(info, run, hashes.get(run.layer.parts) ?? null, hasher, budget))
        root.update(part)
    }
    roots.push({ drive: info.name, root: root.digest('hex') })
  }
  return roots
}

async function* hashesOf(
  info: DriveInfo,
  run: LayeredRun,
  hashes: ArchiveHashes | null,
  hasher: ClusterHasher,
  budget: Budget,
): AsyncGenerator<Uint8Array> {
  const most = hashes === null && run.stored ? DATA_AT_ONCE : AT_ONCE
  for (let first = run.first; first < run.end; first += most) {
    const end = Math.min(run.end, first + most)
    if (!run.stored) yield new Uint8Array((end - first) * HASH_BYTES)
    else if (hashes !== null) yield await hashes.read(run.layer.id, first, end - first)
    else yield await hashed(info, { ...run, first, end }, hasher, budget)
  }
}

/** The hashes of the data itself. */
async function hashed(info: DriveInfo, run: LayeredRun, hasher: ClusterHasher, budget: Budget): Promise<Uint8Array> {
  const { run: read } = await readRun(info, run, budget.take((run.end - run.first) * CLUSTER_SIZE))
  try {
    return hasher.hashes(...withoutZeroes(read))
  } finally {
    read.release()
  }
}

/** The masks and blocks, as a backup of them would store them: another tool may have stored blocks of zeroes. */
function withoutZeroes({ count, masks, blocks }: Run): [Uint16Array, Uint8Array[]] {
  const kept = new Uint16Array(count)
  const views: Uint8Array[] = []
  const [bytes] = blocks
  for (let index = 0, at = 0; bytes !== undefined && index < count; index++) {
    for (let block = 0; block < BLOCKS_PER_CLUSTER; block++) {
      if (((masks![index] >>> block) & 1) === 0) continue
      if (!isZero(bytes, at, BLOCK_SIZE)) {
        kept[index] |= 1 << block
        views.push(bytes.subarray(at, at + BLOCK_SIZE))
      }
      at += BLOCK_SIZE
    }
  }
  return [kept, views]
}
