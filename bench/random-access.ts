/** An archive as a disk: one cluster out of it, all of a drive in order, and random reads, against what others offer. */

import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CLUSTER_SIZE } from '../src/core/geometry.ts'
import { openArchive } from '../src/operations/open-archive.ts'
import { ArchiveFile } from '../src/storage/archive/archive-file.ts'
import { MEMORY_GOAL, mebibytes, memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { makeSparseImage, xorshift } from './images.ts'
import { alternate, type Command, isInstalled, type Measured, measure } from './measure.ts'
import { fio, type Load, type Served, start } from './nbd-server.ts'
import { median, pairRatio, spread } from './statistics.ts'
import { type Goal, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const GiB = 2 ** 30
const SECONDS = 3
const OURS = 'vmapipe export of .vma.zst'
const SMALL = 'the same in frames of 32 KiB'
const THEIRS = 'qemu-nbd of qcow2 (zstd)'
const CAT = 'vmapipe cat of .vma.zst'
const ZSTD = 'zstd -dc of the .vma.zst'

const LOADS: Load[] = [1, 8].map((depth) => ({ name: `4k randread, depth ${depth}`, rw: 'randread', bs: '4k', depth }))

export async function run({ folder, quick, runs }: Settings): Promise<Section> {
  const scale = quick ? 8 : 1
  const [large, dense] = [join(folder, 'large.raw'), join(folder, 'dense.raw')]
  makeSparseImage(large, (16 * GiB) / scale, (2 * GiB) / scale)
  makeSparseImage(dense, (2 * GiB) / scale, (2 * GiB) / scale)
  const archives = { large: `${large}.vma.zst`, dense: `${dense}.vma.zst` }
  for (const [image, archive] of [
    [large, archives.large],
    [dense, archives.dense],
  ])
    await measure({ name: 'the archive', argv: vmapipe('backup', '-d', `disk=${image}`, '-o', archive) }, folder)
  const single = await singleClusters(archives.large, runs * 4)
  const measured = await alternate(catCommands(archives.dense), runs, folder)
  const random = isInstalled('qemu-nbd') ? await randomReads(dense, archives.dense, runs) : null
  return {
    title: 'An archive read in any order',
    intro: [
      `One cluster: of a drive of ${16 / scale} GiB with ${2048 / scale} MiB of data (${mebibytes(archives.large)} as .vma.zst). The ` +
        `rest: of a dense drive of ${2048 / scale} MiB (${mebibytes(archives.dense)}); qcow2 is made by qemu-img convert -c with zstd. ` +
        `fio for ${SECONDS} s at a time over a unix socket, of archives in the page cache of a filesystem. All else is in memory (tmpfs).`,
      ...(random === null ? [] : [random.sizes]),
    ],
    tables: [single.table, timesTable(measured), ...(random === null ? [] : [random.table])],
    goals: [single.goal, catGoal(measured), ...(random?.goals ?? []), memoryGoal(measured, (name) => name === CAT)],
  }
}

/** Opens the archive and reads one cluster, again and again; of the large image's data, which is in 64 pieces. */
async function singleClusters(archive: string, times: number): Promise<{ table: Table; goal: Goal }> {
  const random = xorshift(3)
  const { read } = ArchiveFile.prototype
  const [millis, bytes]: number[][] = [[], []]
  for (let time = 0; time < times; time++) {
    let got = 0
    ArchiveFile.prototype.read = function (buffer, offset) {
      got += buffer.byteLength
      return read.call(this, buffer, offset)
    }
    const began = performance.now()
    const opened = await openArchive(archive)
    const drive = opened.drive('disk')
    const piece = drive.size / 64
    const within = (random() % 128) * CLUSTER_SIZE
    await drive.read(Buffer.allocUnsafe(CLUSTER_SIZE), (random() % 64) * piece + within)
    millis.push(performance.now() - began)
    bytes.push(got)
    await opened.close()
  }
  ArchiveFile.prototype.read = read
  const most = Math.max(...bytes) / 2 ** 20
  return {
    table: {
      head: ['one random cluster, from nothing', 'median', 'min–max'],
      rows: [
        ['ms', median(millis).toFixed(1), spread(millis, 1)],
        [
          'KiB read of the archive',
          (median(bytes) / 1024).toFixed(0),
          spread(
            bytes.map((b) => b / 1024),
            0,
          ),
        ],
      ],
    },
    goal: {
      job: 'one cluster of a large .vma.zst',
      goal: 'under 5 MiB read',
      measured: `at most ${most.toFixed(2)} MiB`,
      met: most < 5,
    },
  }
}

function catCommands(archive: string): Command[] {
  const ours = vmapipe('cat', archive, 'disk').join(' ')
  return [
    { name: CAT, argv: [`${ours} | cat > /dev/null`] },
    { name: ZSTD, argv: [`zstd -q -dc ${archive} | cat > /dev/null`] },
  ]
}

function catGoal(measured: readonly Measured[]): Goal {
  const [goal] = ratioGoals(measured, [
    {
      job: 'cat of a .vma.zst',
      goal: 'no slower than zstd -dc of it',
      ours: CAT,
      theirs: ZSTD,
      atMost: 1,
      why: 'ours decodes on all processors and zstd on one, which is no help where they are busy; and Node takes 0.2 s to start.',
    },
  ])
  return goal
}

/** What is decoded for a read is then half a cluster of qcow2. */
async function smallFrames(image: string, folder: string): Promise<string> {
  const archive = join(folder, 'small.vma.zst')
  const argv = vmapipe('backup', '-d', `disk=${image}`, '--compress', 'zstd,frame=32KiB', '-o', archive)
  await measure({ name: 'the archive', argv }, folder)
  return archive
}

async function randomReads(image: string, large: string, runs: number) {
  // What is served lies on a filesystem and mostly in its cache; tmpfs is another matter.
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-bench-'))
  try {
    return await randomReadsIn(folder, image, large, runs)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function randomReadsIn(folder: string, image: string, large: string, runs: number) {
  const [archive, qcow2] = ['large.vma.zst', 'image.qcow2'].map((name) => join(folder, name))
  copyFileSync(large, archive)
  execFileSync('qemu-img', ['convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', '-f', 'raw', image, qcow2])
  const size = Number(execFileSync('stat', ['-c', '%s', image]))
  const small = await smallFrames(image, folder)
  const [ours, fine, theirs] = ['ours', 'fine', 'theirs'].map((name) => join(folder, `${name}.sock`))
  const servers = new Map<string, Served>()
  try {
    servers.set(OURS, await start(vmapipe('export', archive, '--socket', ours), ours, size))
    servers.set(SMALL, await start(vmapipe('export', small, '--socket', fine), fine, size))
    servers.set(THEIRS, await start(['qemu-nbd', '-r', '-f', 'qcow2', '-t', '-k', theirs, qcow2], theirs, size))
    const figures = new Map<string, number[]>()
    for (let round = 0; round <= runs; round++)
      for (const load of LOADS)
        for (const [name, server] of servers) {
          const iops = fio(server, load, round === 0 ? 1 : SECONDS, folder)
          if (round > 0) figures.set(name + load.name, [...(figures.get(name + load.name) ?? []), iops])
        }
    const peaks = [OURS, SMALL].map((name) => servers.get(name)!.peak())
    const sizes = `Archives: ${mebibytes(archive)}, in frames of 32 KiB ${mebibytes(small)}; the qcow2 has ${mebibytes(qcow2)}.`
    const goals = [...iopsGoals(figures), exportMemoryGoal(Math.max(...peaks))]
    return { sizes, table: iopsTable([...servers.keys()], figures), goals }
  } finally {
    for (const server of servers.values()) await server.stop()
  }
}

function iopsTable(servers: string[], figures: Map<string, number[]>): Table {
  return {
    head: ['load, IOPS', ...servers.flatMap((server) => [server, 'min–max'])],
    rows: LOADS.map(({ name }) => [
      name,
      ...servers.flatMap((server) => {
        const values = figures.get(server + name)!
        return [median(values).toFixed(0), spread(values, 0)]
      }),
    ]),
  }
}

function iopsGoals(figures: Map<string, number[]>): Goal[] {
  return [OURS, SMALL].flatMap((server) =>
    LOADS.map(({ name }): Goal => {
      const least = server === OURS ? 0.6 : 1
      const ratio = pairRatio(figures.get(server + name)!, figures.get(THEIRS + name)!)
      return {
        job: `${name}: ${server}`,
        goal: `at least ${least} times qemu-nbd on a compressed qcow2`,
        measured: `${ratio.toFixed(2)} times`,
        met: ratio >= least,
        value: 1 / ratio,
        why: server === OURS ? COARSE : FINE,
      }
    }),
  )
}

const COARSE =
  'a frame holds up to 4 MiB, a cluster of qcow2 64 KiB, and a frame is decoded and checked as a whole: the price of a smaller archive.'
const FINE =
  'so small a frame is decoded in the thread that serves, as the trip to another one takes as long; qemu-nbd decodes on all processors.'

function exportMemoryGoal(peak: number): Goal {
  const measured = `${(peak / 2 ** 20).toFixed(0)} MiB`
  return { job: 'resident memory of export', goal: 'under 256 MiB', measured, met: peak < MEMORY_GOAL }
}
