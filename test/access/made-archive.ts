/** Archives of drives in memory, whose clusters come in any order, and what they are read into. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Archive } from '../../src/access/archive.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { type Manifest, Run } from '../../src/core/items.ts'
import { type OpenArchiveOptions, openArchive } from '../../src/operations/open-archive.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { bytesThrough, manifestOf } from '../support/flow.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'

export type Hooks = Parameters<typeof tmpDir>[0]

export interface Making {
  /** Shuffles the clusters, unless it is null. */
  random?: (() => number) | null
  method?: 'zstd' | 'lz4' | 'gzip' | 'none'
  /** Bytes of a frame. */
  frame?: number
  map?: boolean
  index?: boolean
  checksums?: boolean
}

/** An image of holes, blocks of zeroes and of noise, the same for the same seed. */
export function patchyImage(size: number, seed = size): Buffer {
  const random = seeded(seed)
  const image = Buffer.alloc(size)
  for (let at = 0; at < size; ) {
    const length = Math.ceil(random() * 300_000)
    const end = Math.min(size, at + length)
    // A quarter of it, and whole clusters often enough.
    if (random() < 0.5)
      for (; at < end; at++) image[at] = 1 + (Math.imul(at, 2654435761) >>> 24) * (random() < 0.5 ? 1 : 0)
    at = end
  }
  return image
}

export function manifestFor(images: readonly Buffer[]): Manifest {
  return manifestOf(...images.map(({ length }) => length))
}

/** The bytes of an archive with these drives: drive-scsi0, drive-scsi1 and so on. */
export async function archiveOf(images: readonly Buffer[], making: Making = {}): Promise<Buffer> {
  const { random = null, method = 'none', frame = 4 << 20, map = true, index = true, checksums = true } = making
  const manifest = manifestFor(images)
  const runs = images.flatMap((image, drive) =>
    Array.from({ length: clusterCount(image.length) }, (_, cluster) => runOf(image, drive + 1, cluster)),
  )
  if (random !== null) shuffle(runs, random)
  const stages = [vmaFramer({ index, checksums }), ...(method === 'none' ? [] : [compressor({ method, frame, map })])]
  const chunks = await bytesThrough('clusters', [manifest, ...runs], stages)
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

export function runOf(image: Buffer, drive: number, cluster: number): Run {
  const blocks: Buffer[] = []
  let mask = 0
  for (let block = 0; block < BLOCKS_PER_CLUSTER; block++) {
    const at = cluster * CLUSTER_SIZE + block * BLOCK_SIZE
    const bytes = image.subarray(at, at + BLOCK_SIZE)
    if (bytes.every((byte) => byte === 0)) continue
    mask |= 1 << block
    blocks.push(Buffer.concat([bytes], BLOCK_SIZE))
  }
  return mask === 0 ? new Run(drive, cluster, 1, []) : new Run(drive, cluster, 1, blocks, Uint16Array.of(mask))
}

export function shuffle<T>(items: T[], random: () => number): void {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    ;[items[at], items[other]] = [items[other], items[at]]
  }
}

export interface Opened {
  archive: Archive
  path: string
  warnings: string[]
}

/** Writes the bytes into a file, and opens it until the test ends. */
export async function opened(t: Hooks, bytes: Uint8Array, options: OpenArchiveOptions = {}): Promise<Opened> {
  const path = join(tmpDir(t), 'a.vma')
  writeFileSync(path, bytes)
  const warnings: string[] = []
  const archive = await openArchive(path, { warn: (message) => warnings.push(message), ...options })
  t.after(() => archive.close())
  return { archive, path, warnings }
}
