/** fio against our disk server and against others, no backup running: IOPS, each server on a copy of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeMixedImage } from './images.ts'
import { isInstalled } from './measure.ts'
import { median, pairRatio, spread } from './statistics.ts'
import { type Goal, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const IMAGE = 2 ** 30
const SECONDS = 2
/** Counted by strace. */
const WRITES =
  "a thread of libuv's pool writes. At depth 1 that takes 14 system calls, at depth 16 it takes 8, and six of them are futex calls, which " +
  'wake a thread or wait for one (qemu-nbd: 18 and 12, of them 3). What waking a thread costs differs much between machines: on an AMD ' +
  'EPYC an earlier version was at 0.87 and 0.99 with 4 KiB.'
const READS =
  'what the page cache has is read and sent by the event loop alone. qemu-nbd reads it in threads, and sends meanwhile.'
const OURS = 'vmapipe serve'
const THEIRS = 'qemu-nbd'

export interface Load {
  name: string
  rw: 'randread' | 'randwrite'
  bs: string
  depth: number
}

const LOADS: Load[] = (
  [
    ['4k', 1],
    ['4k', 16],
    ['64k', 16],
    ['1M', 4],
  ] as const
).flatMap(([bs, depth]) =>
  (['randread', 'randwrite'] as const).map((rw) => ({ name: `${bs} ${rw}, depth ${depth}`, rw, bs, depth })),
)

/** How each server is started; its only export is the default one as well. */
const SERVERS: Record<string, (image: string, socket: string) => string[]> = {
  [OURS]: (image, socket) => vmapipe('serve', '-d', `disk=${image}`, '--socket', socket),
  [THEIRS]: (image, socket) => [
    ...['qemu-nbd', '-f', 'raw', '-k', socket, '--cache=writeback', '--aio=threads', '-t', image],
  ],
  nbdkit: (image, socket) => ['nbdkit', '--foreground', '--unix', socket, 'file', image],
}

export interface Served {
  socket: string
  size: number
  /** The most that was resident so far, in bytes. */
  peak(): number
  stop(): Promise<void>
}

/** IOPS of each run, by server and load. */
type Figures = Map<string, number[]>

export async function run({ runs, quick }: Settings): Promise<Section> {
  // A guest's disk lies on a filesystem and mostly in its cache; tmpfs is another matter.
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-bench-'))
  const stops: (() => Promise<void>)[] = []
  try {
    const figures: Figures = new Map()
    const servers = await startAll(folder, quick ? IMAGE / 8 : IMAGE, stops)
    for (let round = 0; round <= runs; round++) {
      for (const load of LOADS) measure(servers, load, round, figures, folder)
    }
    return {
      title: 'The disk server by itself',
      intro: [
        `fio for ${SECONDS} s at a time over a unix socket, the servers in turn, each with a copy of an image of ` +
          `${IMAGE / 2 ** 20} MiB that is in the page cache of a filesystem. IOPS. No backup runs.`,
      ],
      tables: [table([...servers.keys()], figures)],
      goals: servers.has(THEIRS) ? LOADS.map((load) => goal(load, figures)) : [],
    }
  } finally {
    for (const stop of stops) await stop()
    rmSync(folder, { recursive: true })
  }
}

function measure(servers: Map<string, Served>, load: Load, round: number, figures: Figures, folder: string) {
  for (const [server, served] of servers) {
    // The first round does not count: what comes first is slow.
    const iops = fio(served, load, round === 0 ? 1 : SECONDS, folder)
    const all = figures.get(key(server, load)) ?? []
    if (round > 0) all.push(iops)
    figures.set(key(server, load), all)
  }
  process.stderr.write(`  ${round === 0 ? 'warm-up' : `run ${round}`}  ${load.name}\n`)
}

export function fio({ socket, size }: Served, { rw, bs, depth }: Load, seconds: number, cwd: string): number {
  const target = [`--uri=nbd+unix:///?socket=${socket}`, `--size=${size}`, '--time_based', `--runtime=${seconds}`]
  const load = [`--rw=${rw}`, `--bs=${bs}`, `--iodepth=${depth}`, '--randrepeat=0', '--norandommap']
  const report = ['--output-format=json', '--output=fio.json']
  execFileSync('fio', ['--name=t', '--ioengine=nbd', ...target, ...load, ...report], { cwd, stdio: 'ignore' })
  const [job] = JSON.parse(readFileSync(join(cwd, 'fio.json'), 'utf8')).jobs
  if (job.error !== 0) throw new Error(`fio: error ${job.error} of a request`)
  return job[rw === 'randread' ? 'read' : 'write'].iops
}

async function startAll(folder: string, size: number, stops: (() => Promise<void>)[]): Promise<Map<string, Served>> {
  const source = join(folder, 'source')
  makeMixedImage(source, size)
  const servers = new Map<string, Served>()
  for (const [name, argv] of Object.entries(SERVERS)) {
    if (name !== OURS && !isInstalled(name)) continue
    const number = servers.size
    const image = join(folder, `${number}.raw`)
    copyFileSync(source, image)
    const server = await start(argv(image, join(folder, `${number}.sock`)), join(folder, `${number}.sock`), size)
    servers.set(name, server)
    stops.push(() => server.stop())
  }
  return servers
}

export async function start([program, ...args]: string[], socket: string, size: number): Promise<Served> {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`)
    await sleep(10)
  }
  return {
    ...{ socket, size },
    peak: () => Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1'))?.[1]) * 1024,
    async stop() {
      child.kill('SIGTERM')
      await exit
    },
  }
}

const key = (server: string, { name }: Load) => `${server}: ${name}`

function table(servers: string[], figures: Figures): Table {
  return {
    head: ['load', ...servers.flatMap((server) => [server, 'min–max'])],
    rows: LOADS.map((load) => [
      load.name,
      ...servers.flatMap((server) => {
        const values = figures.get(key(server, load))!
        return [median(values).toFixed(0), spread(values, 0)]
      }),
    ]),
  }
}

function goal(load: Load, figures: Figures): Goal {
  const least = load.bs === '4k' && load.depth === 16 ? 1.3 : 1
  const ratio = pairRatio(figures.get(key(OURS, load))!, figures.get(key(THEIRS, load))!)
  return {
    job: `${load.name}, no backup running`,
    goal: `at least ${least.toFixed(1)} times ${THEIRS}`,
    measured: `${ratio.toFixed(2)} times`,
    met: ratio >= least,
    value: 1 / ratio,
    why: load.rw === 'randread' ? READS : WRITES,
  }
}
