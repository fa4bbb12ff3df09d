/**
 * A guest that writes for a long time under one backup after the other: memory, descriptors and latency must stay as they
 * are. Runs only when it is asked for: npm run bench -- --only soak --minutes 60
 */

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { mebibytes } from './comparison.ts'
import { makeMixedImage } from './images.ts'
import { fioRequests, type Load } from './live/fio.ts'
import { DRIVE, Serving } from './live/serving.ts'
import { median } from './statistics.ts'
import { type Goal, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const IMAGE = 2 ** 31
const QUICK_IMAGE = 2 ** 28
const LOAD: Load = { name: 'guest', rw: 'randwrite', bs: '4k', depth: 4, rate: 8_000_000 }
/** Of the whole time. */
const PARTS = 20
/** What may grow by so much is flat: memory that is in use comes and goes. */
const FLAT = 1.25
const MAX_STALL_MS = 10_000

const exec = promisify(execFile)

interface Part {
  backups: number
  /** Resident bytes and descriptors of the server at the end of it. */
  memory: number
  descriptors: number
  /** Milliseconds, of the guest's writes. */
  p50: number
  p99: number
  longest: number
  writes: number
}

export async function run({ folder, quick, minutes }: Settings): Promise<Section> {
  const image = join(folder, 'disk.raw')
  makeMixedImage(image, quick ? QUICK_IMAGE : IMAGE)
  const serving = await Serving.start(image, folder)
  const seconds = quick ? 2 : (minutes * 60) / PARTS
  const loop = new BackupLoop(serving, folder)
  const parts: Part[] = []
  for (let part = 0; part < (quick ? 3 : PARTS); part++) {
    const before = loop.backups
    const requests = await Promise.race([fioRequests(serving.target, LOAD, seconds, folder), loop.failed])
    const latencies = requests.map(({ latency }) => latency).sort((a, b) => a - b)
    parts.push({ ...serverOf(serving), ...percentiles(latencies), backups: loop.backups - before })
    process.stderr.write(`  part ${part + 1}  ${loop.backups} backups\n`)
  }
  await loop.stop()
  const same = await restoresToTheSame(serving, image, folder)
  await serving.stop()
  return section(parts, loop.backups, same, { seconds, image: mebibytes(image) })
}

/** One backup after the other; each is verified. */
class BackupLoop {
  backups = 0
  readonly failed: Promise<never>
  readonly #loop: Promise<void>
  #running = true

  constructor(serving: Serving, folder: string) {
    const archive = join(folder, 'vm.vma.zst')
    this.#loop = this.#run(serving, archive)
    this.failed = this.#loop.then(() => new Promise<never>(() => {}))
    this.failed.catch(() => {})
  }

  async stop(): Promise<void> {
    this.#running = false
    await this.#loop
  }

  async #run(serving: Serving, archive: string): Promise<void> {
    while (this.#running) {
      await command('backup', '--attach', serving.control, '-o', archive)
      await command('verify', archive)
      rmSync(archive)
      this.backups++
    }
  }
}

/** The guest is idle: what its disk holds now is what a backup of it restores to. */
async function restoresToTheSame(serving: Serving, image: string, folder: string): Promise<boolean> {
  const [archive, restored] = [join(folder, 'last.vma'), join(folder, 'restored.raw')]
  await command('backup', '--attach', serving.control, '-o', archive)
  await command('restore', archive, '--drive', `${DRIVE}=${restored}`)
  return exec('cmp', [image, restored]).then(
    () => true,
    () => false,
  )
}

async function command(...args: string[]): Promise<void> {
  const [program, ...words] = vmapipe(...args)
  await exec(program, words)
}

function serverOf({ pid }: Serving): { memory: number; descriptors: number } {
  const [, kib] = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
  return { memory: Number(kib) * 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length }
}

function percentiles(sorted: number[]) {
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return { p50: at(0.5), p99: at(0.99), longest: sorted.at(-1)!, writes: sorted.length }
}

function section(
  parts: Part[],
  backups: number,
  same: boolean,
  { seconds, image }: { seconds: number; image: string },
): Section {
  const minutes = ((seconds * parts.length) / 60).toFixed(0)
  return {
    title: `A guest that writes for ${minutes} minutes under one backup after the other`,
    intro: [
      `A disk of ${image} in memory (tmpfs), served by \`vmapipe serve\`; fio writes 4 KiB at random places, 8 MB/s, all the time. ` +
        `${backups} backups with zstd by --attach, each verified. The processors are shared by all of them: what matters is ` +
        'that the last part is like the first ones.',
    ],
    tables: [table(parts, seconds)],
    goals: goals(parts, same),
  }
}

function table(parts: Part[], seconds: number): Table {
  return {
    head: ['until minute', 'backups', 'writes', 'p50 ms', 'p99 ms', 'longest ms', 'memory MiB', 'descriptors'],
    rows: parts.map(({ backups, writes, p50, p99, longest, memory, descriptors }, index) => [
      (((index + 1) * seconds) / 60).toFixed(1),
      String(backups),
      String(writes),
      p50.toFixed(2),
      p99.toFixed(1),
      longest.toFixed(0),
      (memory / 2 ** 20).toFixed(0),
      String(descriptors),
    ]),
  }
}

function goals(parts: Part[], same: boolean): Goal[] {
  const half = parts.length >> 1
  const growth = (what: (part: Part) => number) =>
    median(parts.slice(half).map(what)) / median(parts.slice(0, half).map(what))
  const flat = (job: string, what: (part: Part) => number): Goal => ({
    job,
    goal: `flat: the median of the second half at most ${FLAT} times that of the first`,
    measured: `${growth(what).toFixed(2)} times`,
    met: growth(what) <= FLAT,
  })
  const longest = Math.max(...parts.map((part) => part.longest))
  return [
    flat('resident memory of the server', ({ memory }) => memory),
    flat('descriptors of the server', ({ descriptors }) => descriptors),
    flat("p99 of the guest's writes", ({ p99 }) => p99),
    {
      job: "longest of the guest's writes, none of which failed",
      goal: 'never beyond --max-stall, 10 s',
      measured: `${longest.toFixed(0)} ms`,
      met: longest <= MAX_STALL_MS,
    },
    {
      job: 'the last backup restores to',
      goal: 'the disk, byte for byte',
      measured: same ? 'it' : 'others',
      met: same,
    },
  ]
}
