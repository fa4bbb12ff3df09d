/** fio as the guest: what an NBD export does under a load. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

export interface Load {
  name: string
  rw: 'randwrite' | 'randread'
  /** As fio writes sizes: 4k. */
  bs: string
  depth: number
  /** Bytes a second at most. */
  rate?: number
  jobs?: number
}

export interface Outcome {
  iops: number
  /** Bytes a second. */
  bandwidth: number
  /** Milliseconds. */
  p99: number
  longest: number
}

/** One request: when it ended, in milliseconds since the epoch, and how many milliseconds it took. */
export interface Request {
  at: number
  latency: number
}

export interface Target {
  socket: string
  export: string
  /** Bytes of the export. */
  size: number
}

/** Milliseconds that 99 of 100 of these requests take at most; NaN if there are too few to tell. */
export function p99(requests: readonly Request[]): number {
  if (requests.length < 100) return Number.NaN
  const sorted = requests.map(({ latency }) => latency).sort((a, b) => a - b)
  return sorted[Math.ceil(sorted.length * 0.99) - 1]
}

/** Runs the load for so many seconds. Throws, with what fio said, where a request fails. */
export async function fio(target: Target, load: Load, seconds: number, folder: string): Promise<Outcome> {
  return (await run(target, load, seconds, folder, [])).outcome
}

/** The same with each request by itself. */
export async function fioRequests(target: Target, load: Load, seconds: number, folder: string): Promise<Request[]> {
  const { logs } = await run(target, load, seconds, folder, ['--write_lat_log=log', '--log_unix_epoch=1'])
  return logs
}

async function run(target: Target, load: Load, seconds: number, folder: string, flags: string[]) {
  const dir = mkdtempSync(join(folder, 'fio-'))
  try {
    await exited(
      spawn('fio', [...words(target, load, seconds), ...flags], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] }),
    )
    return { outcome: outcomeOf(dir, load), logs: flags.length > 0 ? readLog(dir) : [] }
  } finally {
    rmSync(dir, { recursive: true })
  }
}

function words(target: Target, { rw, bs, depth, rate, jobs = 1 }: Load, seconds: number): string[] {
  return [
    ...[
      '--name=t',
      '--ioengine=nbd',
      `--uri=nbd+unix:///${target.export}?socket=${target.socket}`,
      `--size=${target.size}`,
    ],
    ...[`--rw=${rw}`, `--bs=${bs}`, `--iodepth=${depth}`, `--numjobs=${jobs}`, '--group_reporting'],
    ...['--time_based', `--runtime=${seconds}`, '--randrepeat=0', '--norandommap'],
    ...['--output-format=json', '--output=out.json', ...(rate ? [`--rate=${rate}`] : [])],
  ]
}

async function exited(child: ReturnType<typeof spawn>): Promise<void> {
  let said = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (text) => {
      said = (said + text).slice(-2000)
    })
  }
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`fio failed (${code}): ${said.trim()}`)
}

function outcomeOf(dir: string, { rw }: Load): Outcome {
  const [job] = JSON.parse(readFileSync(join(dir, 'out.json'), 'utf8')).jobs
  if (job.error !== 0) throw new Error(`fio: error ${job.error} of a request`)
  const { iops, bw_bytes, clat_ns, lat_ns } = job[rw === 'randwrite' ? 'write' : 'read']
  return { iops, bandwidth: bw_bytes, p99: clat_ns.percentile['99.000000'] / 1e6, longest: lat_ns.max / 1e6 }
}

function readLog(dir: string): Request[] {
  const lines = readFileSync(join(dir, 'log_lat.1.log'), 'utf8').trim().split('\n')
  return lines.map((line) => {
    const [at, nanoseconds] = line.split(',').map(Number)
    return { at, latency: nanoseconds / 1e6 }
  })
}
