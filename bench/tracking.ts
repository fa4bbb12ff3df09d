/** `vmapipe serve --track`: what it costs the guest, and what an incremental backup reads. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { NbdClient } from '../src/protocol/nbd/client.ts'
import { ratioGoals, timesTable } from './comparison.ts'
import { Content, makeSparseImage } from './images.ts'
import { fio, type Load } from './live/fio.ts'
import { Serving } from './live/serving.ts'
import { alternate, measure } from './measure.ts'
import { median, pairRatio, spread } from './statistics.ts'
import { type Goal, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const LOAD: Load = { name: '4k randwrite, depth 16', rw: 'randwrite', bs: '4k', depth: 16 }
const SECONDS = 3
const GiB = 2 ** 30
const MiB = 2 ** 20

export async function run(settings: Settings): Promise<Section> {
  // The marks are made durable, which costs nothing in a filesystem in memory.
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-bench-'))
  try {
    const writes = await guestWrites(folder, settings)
    const backups = await incrementalBackups(folder, settings)
    return {
      title: 'A disk server that tracks changes',
      intro: [
        'fio writes 4 KiB at random, at depth 16, to a drive on a filesystem of a disk, with its page cache. Steady: every region was written to since the last ' +
          'backup. First touches: a backup has just begun a new generation, and the time includes all first writes to the regions of 1 MiB. During an ' +
          'incremental: 1 % of the drive has changed since its parent, and the backup takes as long as the writes. It begins a new generation too.',
      ],
      tables: [writes.table, timesTable(backups.measured)],
      goals: [...writes.goals, ...backups.goals],
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function guestWrites(folder: string, { runs, quick }: Settings): Promise<{ table: Table; goals: Goal[] }> {
  const [size, rounds] = quick ? [GiB / 2, 2] : [4 * GiB, runs]
  const figures = { plain: [], steady: [], first: [], during: [] } as Record<string, number[]>
  // Both run all the time, so that what drifts hits both.
  const [plain, tracked] = [await served(folder, 'plain', size, []), await served(folder, 'tracked', size, ['--track'])]
  const iops = async ({ target }: Serving) => (await fio(target, LOAD, SECONDS, folder)).iops
  try {
    await iops(plain)
    for (let round = 0; round < rounds; round++) {
      rmSync(await fullBackup(tracked))
      figures.first.push(await iops(tracked))
      figures.plain.push(await iops(plain))
      figures.steady.push(await iops(tracked))
      figures.during.push(await duringIncrementals(tracked, size, () => iops(tracked)))
      process.stderr.write(`  round ${round + 1}\n`)
    }
  } finally {
    await plain.stop()
    await tracked.stop()
  }
  return outcome(figures)
}

async function served(folder: string, name: string, size: number, flags: string[]): Promise<Serving> {
  const place = join(folder, name)
  mkdirSync(place)
  const image = join(place, 'disk.raw')
  makeSparseImage(image, size, size)
  return Serving.start(image, place, flags)
}

function outcome(figures: Record<string, number[]>): { table: Table; goals: Goal[] } {
  const { plain } = figures
  const row = (name: string, values: number[]) => [
    name,
    median(values).toFixed(0),
    spread(values, 0),
    pairRatio(values, plain).toFixed(2),
  ]
  const goal = (job: string, values: number[], atLeast: number): Goal => {
    const value = pairRatio(values, plain)
    return {
      job,
      goal: `at least ${atLeast} of what it is without tracking`,
      measured: value.toFixed(2),
      met: value >= atLeast,
    }
  }
  return {
    table: {
      head: ['4k randwrite, depth 16', 'IOPS', 'min–max', 'of those without tracking'],
      rows: [
        row('without tracking', plain),
        row('tracked, steady', figures.steady),
        row('tracked, from no mark on', figures.first),
        row('tracked, during incrementals with 1 % changed', figures.during),
      ],
    },
    goals: [
      goal('4k random writes, tracked, steady', figures.steady, 0.97),
      goal('4k random writes, tracked, first touches', figures.first, 0.7),
      goal('4k random writes during an incremental with 1 % changed', figures.during, 0.9),
    ],
  }
}

/** A parent is made, 1 % of the drive is changed, and an incremental is read slowly while the guest writes. */
async function duringIncrementals(serving: Serving, size: number, iops: () => Promise<number>): Promise<number> {
  const parent = await fullBackup(serving)
  const folder = dirname(serving.control)
  await fio({ ...serving.target, size: Math.floor(size / 100 / MiB) * MiB }, LOAD, 1, folder)
  const rate = `${Math.ceil(size / 100 / SECONDS / 1024)}KiB`
  const argv = incremental(serving, parent, '--bwlimit', rate)
  const backup = measure({ name: 'an incremental while fio writes', argv }, folder)
  const result = await iops()
  await backup
  rmSync(parent)
  return result
}

async function fullBackup(serving: Serving): Promise<string> {
  const archive = `${serving.control}.full.vma`
  const argv = vmapipe('backup', '--attach', serving.control, '--compress', 'none', '-f', '-o', archive)
  await measure({ name: 'a full backup', argv }, dirname(serving.control))
  return archive
}

function incremental(serving: Serving, parent: string, ...flags: string[]): string[] {
  const to = `${serving.control}.part.vmi`
  return vmapipe('backup', '--attach', serving.control, '--since', parent, '-f', '-o', to, ...flags)
}

/** 1/32 of a drive has changed, against a full backup of a drive of that size. */
async function incrementalBackups(folder: string, { runs, quick }: Settings) {
  const changed = quick ? 64 * MiB : 512 * MiB
  const [large, small] = await Promise.all(
    (['large', 'small'] as const).map(async (kind) => {
      const place = join(folder, kind)
      mkdirSync(place)
      const image = join(place, 'disk.raw')
      if (kind === 'large') makeSparseImage(image, 32 * changed, changed)
      else makeSparseImage(image, changed, changed)
      return Serving.start(image, place, ['--track'])
    }),
  )
  try {
    const parent = await fullBackup(large)
    const guest = await NbdClient.connect({ socketPath: large.target.socket, exportName: large.target.export })
    const content = new Content(9)
    for (let at = 0; at < changed; at += 4 * MiB) await guest.write([content.next(4 * MiB)], 8 * changed + at)
    await guest.close()
    const [ours, theirs] = ['incremental of what changed', 'full backup of a drive of that size']
    const full = vmapipe('backup', '--attach', small.control, '-f', '-o', `${small.control}.vma`)
    const commands = [
      { name: ours, argv: incremental(large, parent) },
      { name: theirs, argv: full },
    ]
    const measured = await alternate(commands, runs, folder)
    const { last } = await large.status()
    const read = (last!.status.counters.read ?? 0) / changed
    const goals = ratioGoals(measured, [
      {
        job: `${changed / MiB} MiB changed of ${(32 * changed) / GiB} GiB: an incremental with tracking`,
        goal: 'at most 1.3 times the time of a full backup of a drive that is as large as the change',
        ...{ ours, theirs, atMost: 1.3 },
      },
    ])
    const bytes: Goal = {
      job: 'what an incremental with tracking reads',
      goal: 'at most 1.05 times what has changed',
      measured: `${read.toFixed(3)} times`,
      met: read <= 1.05,
      value: read,
    }
    return { measured, goals: [...goals, bytes] }
  } finally {
    await large.stop()
    await small.stop()
  }
}
