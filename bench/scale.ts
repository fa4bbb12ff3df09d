/**
 * How what we need grows with the size of a guest: from 1 GiB to 4 TiB, and from 1 to 200 drives. The flow is measured with drives that
 * are made in code, as no disk has room for them; archives are of sparse images, of which most is holes.
 */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeSpreadImage } from './images.ts'
import { measure, type Sample } from './measure.ts'
import { slowNetwork } from './scale/slow-network.ts'
import { slowPlace } from './scale/slow-place.ts'
import { median } from './statistics.ts'
import { type Goal, plainVmapipe, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const TiB = 2 ** 40

const SIZES = [GiB, 16 * GiB, 256 * GiB, 4 * TiB]
const DRIVES = [1, 8, 200]
/** One part in so many is data. */
const SHARE = 64
/** Data that is moved for a figure, unless the size has more: by backups one after the other. */
const MOVED = 2 * GiB
/** Data in the images that are archived. */
const ARCHIVED = 256 * MiB
/** The memory for data on its way, as it is unless a user says otherwise. */
const BUFFER = 64 * MiB
const FLAT_TIME = 1.1
const FLAT_MEMORY = 32 * MiB

interface Flow {
  name: string
  /** Seconds a GiB of data, and processor time likewise. */
  seconds: number
  cpu: number
  memory: number
  /** Bytes of data in one backup. */
  data: number
}

export async function run(settings: Settings): Promise<Section> {
  const sizes = settings.quick ? SIZES.slice(0, 3) : SIZES
  const bySize = sizes.map((size) => flow(sizeText(size), size, 1, settings))
  const byDrives = DRIVES.map((count) =>
    flow(`16 GiB, ${count} ${count === 1 ? 'drive' : 'drives'}`, 16 * GiB, count, settings),
  )
  const archives = await ofArchives(sizes, settings)
  const network = await slowNetwork(settings)
  const place = await slowPlace(settings)
  return {
    title: 'Scale',
    intro: [
      `The flow: drives of which one part in ${SHARE} is data, in pieces of up to 16 MiB, made in code; the archive is thrown away. ` +
        `Small ones are backed up again and again, until ${MOVED / GiB} GiB of data have gone through. ` +
        `Archives: of sparse images with ${ARCHIVED / MiB} MiB of data in clusters that are spread evenly; that of 4 TiB has 1.1 million extents.`,
      ...network.intro,
      ...place.intro,
    ],
    tables: [flowTable([...bySize, ...byDrives]), archives.table, ...network.tables, ...place.tables],
    goals: [
      ...flatGoals(bySize, 'size'),
      ...flatGoals(byDrives, 'number of drives'),
      ...archives.goals,
      ...network.goals,
      ...place.goals,
    ],
  }
}

function flow(name: string, size: number, drives: number, { quick }: Settings): Flow {
  const data = Math.max(size / SHARE, drives * 65536)
  const moved = quick ? MOVED / 8 : MOVED
  const times = Math.max(1, Math.round(moved / data))
  const argv = [join(import.meta.dirname, 'scale/flow.ts'), String(size), String(drives), String(data), String(times)]
  const { seconds, cpu, memory } = JSON.parse(execFileSync(process.execPath, argv, { encoding: 'utf8' }))
  const moves = (data * times) / GiB
  process.stderr.write(`  ${(seconds / moves).toFixed(2)} s a GiB of data, ${name}\n`)
  return { name, seconds: seconds / moves, cpu: cpu / moves, memory, data }
}

function flowTable(flows: readonly Flow[]): Table {
  return {
    head: ['flow', 's a GiB of data', 'CPU s a GiB', 'peak MiB'],
    rows: flows.map(({ name, seconds, cpu, memory }) => [
      name,
      seconds.toFixed(2),
      cpu.toFixed(2),
      (memory / MiB).toFixed(0),
    ]),
  }
}

/** The smallest is what the others are compared with. */
function flatGoals(flows: readonly Flow[], what: string): Goal[] {
  const [first, ...others] = flows
  const slowest = Math.max(...others.map(({ seconds }) => seconds)) / first.seconds
  // Less data than the buffer holds does not fill it.
  const filled = flows.filter(({ data }) => data > BUFFER)
  const more = Math.max(...filled.map(({ memory }) => memory)) - filled[0].memory
  return [
    {
      job: `time of a GiB of data, whatever the ${what}`,
      goal: 'within 10 % of the smallest',
      measured: `at most ${slowest.toFixed(2)} times`,
      met: slowest <= FLAT_TIME,
      value: slowest,
    },
    {
      job: `memory, whatever the ${what}`,
      goal: 'within 32 MiB of the smallest that fills the buffer',
      measured: `at most ${(more / MiB).toFixed(0)} MiB more`,
      met: more <= FLAT_MEMORY,
    },
  ]
}

async function ofArchives(sizes: readonly number[], settings: Settings): Promise<{ table: Table; goals: Goal[] }> {
  const { folder, runs } = settings
  const [image, archive] = [join(folder, 'sparse.raw'), join(folder, 'sparse.vma')]
  const rows: { name: string; list: Sample; cat: Sample; start: number }[] = []
  for (const size of sizes) {
    makeSpreadImage(image, size, ARCHIVED)
    await measure({ name: 'the archive', argv: vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', archive) }, folder)
    rmSync(image)
    const cat = vmapipe('cat', archive, 'drive-scsi0', '--offset', String(size / 2), '--length', '64KiB')
    const list = plainVmapipe('list', archive)
    const row = {
      name: sizeText(size),
      list: await middle('list', list, settings),
      cat: await middle('cat', cat, settings),
    }
    const starts: number[] = []
    for (let run = 0; run < runs; run++) starts.push(await startOfVerify(archive))
    rows.push({ ...row, start: median(starts) })
    process.stderr.write(`  list, cat and verify, ${sizeText(size)}\n`)
    rmSync(archive)
  }
  const ratio = (of: (row: (typeof rows)[0]) => number) => Math.max(...rows.map(of)) / of(rows[0])
  const goal = (job: string, value: number, why?: string): Goal => ({
    job,
    goal: 'the same for every size, within 25 %',
    measured: `at most ${value.toFixed(2)} times that of the smallest`,
    met: value <= 1.25,
    value,
    ...(why !== undefined && { why }),
  })
  return {
    table: {
      head: ['archive', 'list s', 'cat of a cluster s', 'its peak MiB', 'verify has read 16 MiB s'],
      rows: rows.map(({ name, list, cat, start }) => [
        name,
        list.wall.toFixed(2),
        cat.wall.toFixed(2),
        (cat.memory / MiB).toFixed(0),
        start.toFixed(2),
      ]),
    },
    goals: [
      goal(
        'list',
        ratio(({ list }) => list.wall),
      ),
      goal(
        'cat of a cluster',
        ratio(({ cat }) => cat.wall),
        'the index of an archive is one table, which is checked as a whole before it is believed: about 0.1 s of processor time for a million extents.',
      ),
      goal(
        'start of verify',
        ratio(({ start }) => start),
        '16 MiB of a sparse archive are the headers of 32,000 extents, and each is checked.',
      ),
    ],
  }
}

async function middle(name: string, argv: string[], { folder, runs }: Settings): Promise<Sample> {
  const samples: Sample[] = []
  for (let run = 0; run <= runs; run++) samples.push(await measure({ name, argv }, folder))
  return samples.slice(1).toSorted((a, b) => a.wall - b.wall)[runs >>> 1]
}

/** Seconds until it has read 16 MiB, more than its code has. */
async function startOfVerify(archive: string): Promise<number> {
  const [program, ...args] = vmapipe('verify', archive)
  const started = performance.now()
  const child = spawn(program, args, { stdio: 'ignore' })
  const ended = once(child, 'exit')
  while (child.exitCode === null && bytesReadBy(child.pid!) < 16 * MiB) await sleep(1)
  const seconds = (performance.now() - started) / 1000
  child.kill('SIGKILL')
  await ended
  return seconds
}

function bytesReadBy(pid: number): number {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1] ?? 0)
  } catch {
    return Number.POSITIVE_INFINITY // It has ended.
  }
}

function sizeText(size: number): string {
  return size < TiB ? `${size / GiB} GiB` : `${size / TiB} TiB`
}
