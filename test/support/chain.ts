/** Chains of archives that are made of states of drives: a full archive, then what each state has changed. */

import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { endOf } from '../../src/access/end-checksum.ts'
import { openFile } from '../../src/access/open-file.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { Budget } from '../../src/core/budget.ts'
import { CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { Manifest, type Run } from '../../src/core/items.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { runOf, shuffle } from '../access/made-archive.ts'
import { bytesThrough } from './flow.ts'
import { seeded } from './random.ts'

/** The drives of a guest, by name. */
export type State = Record<string, Buffer>

export interface ChainMaking {
  method?: 'zstd' | 'lz4' | 'none'
  frame?: number
  /** Shuffles the clusters of each archive, as a live backup does. */
  shuffled?: boolean
  /** Names of the files; by default full.vma, night1.vmi and so on. */
  name?: (depth: number) => string
}

const BUFFER = 64 << 20

/** Writes the chain of these states into the folder, and gives the paths, the oldest first. */
export async function makeChain(folder: string, states: readonly State[], making: ChainMaking = {}): Promise<string[]> {
  const { name = (depth) => (depth === 0 ? 'full.vma' : `night${depth}.vmi`) } = making
  const paths: string[] = []
  for (const [depth, state] of states.entries()) {
    const path = join(folder, name(depth))
    const before = depth === 0 ? null : { state: states[depth - 1], path: paths[depth - 1] }
    writeFileSync(path, await incremental(state, before, making, depth))
    paths.push(path)
  }
  return paths
}

async function incremental(
  state: State,
  before: { state: State; path: string } | null,
  { method = 'none', frame = 1 << 20, shuffled = false }: ChainMaking,
  seed: number,
): Promise<Buffer> {
  // The numbers of drives change from one archive to the next: only their names count.
  const names = seed % 2 === 0 ? Object.keys(state) : Object.keys(state).reverse()
  const manifest = new Manifest({
    uuid: randomBytes(16),
    ctime: 1_700_000_000 + seed * 86_400,
    configs: [{ name: 'qemu-server.conf', data: Buffer.from(`state: ${seed}\n`) }],
    drives: names.map((drive, index) => ({ id: index + 1, name: drive, size: state[drive].length })),
    record: before && { parent: await recordOf(before.path), guest: null, full: null },
  })
  const runs = manifest.drives.flatMap(({ id, name }) => changed(state[name], before?.state[name], id))
  if (shuffled) shuffle(runs, seeded(seed))
  const stages = [vmaFramer({}), ...(method === 'none' ? [] : [compressor({ method, frame })])]
  const chunks = await bytesThrough('clusters', [manifest, ...runs], stages)
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

/** Writes an archive of one small drive without any change, which says that it has this parent. Its end does not depend on the parent. */
export async function forgeChild(
  path: string,
  uuid: Buffer,
  parent: { uuid: Uint8Array; end: Uint8Array },
): Promise<void> {
  const drives = [{ id: 1, name: 'drive-scsi0', size: CLUSTER_SIZE }]
  const record = { parent: { ...parent, ctime: 0 }, guest: null, full: null }
  const manifest = new Manifest({ uuid, ctime: 0, configs: [], drives, record })
  const chunks = await bytesThrough('clusters', [manifest], [vmaFramer({})])
  writeFileSync(path, Buffer.concat(chunks.flatMap(({ buffers }) => buffers)))
}

/** The clusters that the image has and the one before has not: also those past its end. */
function changed(image: Buffer, before: Buffer | undefined, id: number): Run[] {
  const runs: Run[] = []
  for (let cluster = 0; cluster < clusterCount(image.length); cluster++) {
    const known = before !== undefined && cluster < clusterCount(before.length)
    if (!known || !clusterOf(image, cluster).equals(clusterOf(before, cluster))) runs.push(runOf(image, id, cluster))
  }
  return runs
}

function clusterOf(image: Buffer, cluster: number): Buffer {
  return Buffer.concat([image.subarray(cluster * CLUSTER_SIZE, (cluster + 1) * CLUSTER_SIZE)], CLUSTER_SIZE)
}

/** What a child says of this archive. */
export async function recordOf(path: string) {
  const file = await openFile(path, { budget: new Budget(BUFFER), threads: 2, warn: () => {}, keys: new Keyring() })
  if (typeof file === 'string') throw new Error(file)
  try {
    return { uuid: file.manifest.uuid, end: await endOf(file), ctime: file.manifest.ctime }
  } finally {
    await file.close()
  }
}

/** A copy of the state with `count` stretches of a drive overwritten by noise, and some by zeroes. */
export function written(state: State, drive: string, count: number, seed: number): State {
  const random = seeded(seed)
  const image = Buffer.from(state[drive])
  for (let round = 0; round < count; round++) {
    const from = Math.floor(random() * image.length)
    const to = Math.min(image.length, from + Math.ceil(random() * 200_000))
    if (random() < 0.3) image.fill(0, from, to)
    else for (let at = from; at < to; at++) image[at] = (Math.imul(at ^ seed, 2654435761) >>> 24) | 1
  }
  return { ...state, [drive]: image }
}

/** The states of a guest with two drives, of which one grows, one shrinks, and one comes and goes. */
export function states(first: Buffer, second: Buffer): State[] {
  const full = { 'drive-scsi0': first, 'drive-scsi1': second }
  const one = written(full, 'drive-scsi0', 6, 1)
  const grown = written({ ...one, 'drive-scsi1': resized(one['drive-scsi1'], 1.7) }, 'drive-scsi1', 3, 2)
  const shrunk = written({ ...grown, 'drive-scsi0': resized(grown['drive-scsi0'], 0.6) }, 'drive-scsi0', 3, 3)
  const added = { ...shrunk, 'drive-scsi2': Buffer.from(second) }
  const again = { ...written(added, 'drive-scsi2', 2, 4), 'drive-scsi0': resized(shrunk['drive-scsi0'], 2) }
  return [full, one, grown, shrunk, added, again]
}

function resized(image: Buffer, factor: number): Buffer {
  const size = Math.floor((image.length * factor) / 512) * 512
  return Buffer.concat([image], size)
}
