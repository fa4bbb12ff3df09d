/** What a store that finds duplicates adds for the second of two archives of a drive of which one hundredth has changed. */

import { execFileSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { bindStage } from '../src/config/registry.ts'
import { CLUSTER_SIZE } from '../src/core/geometry.ts'
import { type ClusterItem, Manifest, Run } from '../src/core/items.ts'
import { definePipeline } from '../src/core/pipeline.ts'
import { defineStage, z } from '../src/core/stage.ts'
import { type RepackOptions, repack } from '../src/operations/repack.ts'
import { Content, makeMixedImage, xorshift } from './images.ts'
import { isInstalled } from './measure.ts'
import type { Goal, Section, Settings } from './topic.ts'

const IMAGE = 2 ** 30
const QUICK_IMAGE = 2 ** 27
const CHANGED = 0.01
/** Clusters of a running guest that its writes put before the scan. */
const EARLY = 0.05
const NAME = 'drive-scsi0'
/** The same for every archive of a drive that is stored like this. */
const FIXED = { uuid: '00000000-0000-4000-8000-000000000000', ctime: 0 }

const KINDS: Record<string, RepackOptions['compress'] | null> = {
  'as they come from a running guest, .vma': null,
  'as they come from a running guest, .vma.zst': 'zstd',
  'repacked, .vma': 'none',
  'repacked, .vma.zst': 'zstd',
}

export async function run({ folder, quick }: Settings): Promise<Section> {
  if (!isInstalled('restic')) throw new Error('restic is needed, and not installed')
  const images = [join(folder, 'monday.raw'), join(folder, 'tuesday.raw')]
  makeMixedImage(images[0], quick ? QUICK_IMAGE : IMAGE)
  copyFileSync(images[0], images[1])
  change(images[1])
  const rows: { kind: string; size: number; added: number }[] = []
  for (const kind of Object.keys(KINDS)) {
    const archives = await Promise.all(images.map((image, index) => archiveOf(image, index, kind, folder)))
    rows.push({ kind, size: statSync(archives[1]).size, added: addedBySecond(archives, folder) })
    for (const archive of archives) rmSync(archive)
    process.stderr.write(`  ${kind}\n`)
  }
  rows.push({ kind: 'the raw images themselves', size: statSync(images[1]).size, added: addedBySecond(images, folder) })
  return section(rows, statSync(images[1]).size)
}

/** Whole clusters at random places, of those that hold data, one hundredth of the image in all. */
function change(path: string): void {
  const { size } = statSync(path)
  const content = new Content(3)
  const random = xorshift(3)
  const file = openSync(path, 'r+')
  const start = Buffer.alloc(512)
  for (let left = (size * CHANGED) / CLUSTER_SIZE; left > 0; ) {
    const at = (random() % (size / CLUSTER_SIZE)) * CLUSTER_SIZE
    readSync(file, start, 0, start.length, at)
    if (start.every((byte) => byte === 0)) continue
    writeSync(file, content.next(CLUSTER_SIZE), 0, CLUSTER_SIZE, at)
    left--
  }
  closeSync(file)
}

async function archiveOf(image: string, index: number, kind: string, folder: string): Promise<string> {
  const compress = KINDS[kind]
  const made = join(folder, `made-${index}.vma`)
  const to = join(folder, `stored-${index}.vma`)
  if (kind.startsWith('as they come')) {
    await backUpRunning(image, index, to, compress !== null)
    return to
  }
  await backUpRunning(image, index, made, false)
  await repack({ from: made, to, compress: compress!, ...FIXED })
  rmSync(made)
  return to
}

/** The archive of a guest that writes: some clusters, each time others, come before the scan has got there. */
async function backUpRunning(image: string, seed: number, to: string, compressed: boolean): Promise<void> {
  const { size } = statSync(image)
  const count = size / CLUSTER_SIZE
  const random = xorshift(10 + seed)
  const early = new Set<number>()
  while (early.size < count * EARLY) early.add(random() % count)
  const rest = Array.from({ length: count }, (_, cluster) => cluster).filter((cluster) => !early.has(cluster))
  // A few of them at a time, all along the first half of the scan.
  const order = rest.flatMap((cluster) => (cluster % 10 === 0 ? [...take(early, 1), cluster] : [cluster]))
  const file = openSync(image, 'r')
  try {
    await definePipeline([
      clustersOf(file, size, [...order, ...early]),
      bindStage('zero-elider'),
      bindStage('vma-framer'),
      ...(compressed ? [bindStage('compressor')] : []),
      bindStage('sink', { to }),
    ]).run()
  } finally {
    closeSync(file)
  }
}

function take<T>(set: Set<T>, count: number): T[] {
  const taken = [...set].slice(0, count)
  for (const item of taken) set.delete(item)
  return taken
}

function clustersOf(file: number, size: number, order: number[]) {
  const uuid = crypto.getRandomValues(new Uint8Array(16))
  const manifest = new Manifest({ uuid, ctime: 0, configs: [], drives: [{ id: 1, name: NAME, size }] })
  let next = -1
  return defineStage({
    name: 'guest',
    summary: 'clusters as a guest that writes makes them come',
    input: 'nothing',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => ({
      async read(): Promise<ClusterItem | null> {
        if (next++ < 0) return manifest
        const cluster = order[next - 1]
        if (cluster === undefined) return null
        const bytes = Buffer.allocUnsafeSlow(CLUSTER_SIZE)
        readSync(file, bytes, 0, CLUSTER_SIZE, cluster * CLUSTER_SIZE)
        return new Run(1, cluster, 1, [bytes])
      },
    }),
  })()
}

/** Bytes by which a new repository of restic grows with the second file. */
function addedBySecond([first, second]: string[], folder: string): number {
  const repository = join(folder, 'restic')
  mkdirSync(repository)
  const restic = (...args: string[]) =>
    execFileSync('restic', ['--repo', repository, '--no-cache', '--quiet', ...args], {
      env: { ...process.env, RESTIC_PASSWORD: 'bench' },
      stdio: ['ignore', 'ignore', 'inherit'],
      cwd: folder,
    })
  restic('init')
  restic('backup', first)
  const before = sizeOf(repository)
  restic('backup', second)
  const added = sizeOf(repository) - before
  rmSync(repository, { recursive: true })
  return added
}

function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}

function section(rows: { kind: string; size: number; added: number }[], size: number): Section {
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1)
  const added = (kind: string) => rows.find((row) => row.kind === kind)!.added
  const gain = added('as they come from a running guest, .vma') / added('repacked, .vma')
  const goal: Goal = {
    job: 'second archive of a drive in a store that finds duplicates',
    goal: 'less with repack than without',
    measured: `${gain.toFixed(1)} times less`,
    met: gain > 1,
  }
  return {
    title: 'Two archives of a drive in a store that finds duplicates',
    intro: [
      `A drive of ${mib(size)} MiB, and the same with ${mib(size * CHANGED)} MiB of it changed in clusters at random places. In the ` +
        `archives of a running guest each time other clusters, ${EARLY * 100} % of them, come early. \`vmapipe repack\` puts all ` +
        'in order, with a fixed UUID and time. restic stores the first, then the second.',
    ],
    tables: [
      {
        head: ['stored', 'MiB', 'added by the second, MiB'],
        rows: rows.map((row) => [row.kind, mib(row.size), mib(row.added)]),
      },
    ],
    goals: [goal],
  }
}
