/** What a guest that writes at a steady rate feels of a backup to a slow sink: until the buffer is full, and then. */

import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { median, spread } from '../statistics.ts'
import type { Goal, Settings, Table } from '../topic.ts'
import { fioRequests, type Load, p99 } from './fio.ts'
import { MAX_STALL_MS, Serving } from './serving.ts'

const LOAD: Load = { name: '10 MB/s', rw: 'randwrite', bs: '4k', depth: 4, rate: 10_000_000 }
const SINK_RATE = 50_000_000
const SECONDS = 6
/** The guest writes for so long before the backup begins. */
const ALONE_MS = 2000
const WARM_UP_MS = 500

interface Sample {
  /** p99 in milliseconds, of requests in each phase. */
  idle: number
  filling: number
  full: number
  longest: number
}

export async function latency(image: string, { runs, folder }: Settings): Promise<{ table: Table; goals: Goal[] }> {
  const samples: Sample[] = []
  for (let run = 0; run < runs; run++) {
    execFileSync('sync', [image])
    const serving = await Serving.start(image, folder)
    samples.push(await measureOnce(serving, folder))
    await serving.stop()
    process.stderr.write(`  run ${run + 1}  latency\n`)
  }
  return { table: table(samples), goals: goals(samples) }
}

async function measureOnce(serving: Serving, folder: string): Promise<Sample> {
  const load = fioRequests(serving.target, LOAD, SECONDS, folder)
  await sleep(ALONE_MS)
  const controller = new AbortController()
  const ended = serving.backUpSlowly(SINK_RATE, controller.signal).then(
    () => new Error('the backup was over before the load: the image is too small'),
    (error) => error,
  )
  const requests = await load
  // Asked once: whoever asks takes the server's time.
  const { backup } = await Promise.race([serving.status(), ended.then((error) => Promise.reject(error))])
  const [since, full] = [backup!.since, backup!.buffer.full ?? Number.POSITIVE_INFINITY].map(
    (seconds) => seconds * 1000,
  )
  controller.abort()
  const error = await ended
  if (error.code !== 'ABORTED') throw error
  const within = (from: number, to: number) => requests.filter(({ at, latency }) => at - latency >= from && at < to)
  return {
    idle: p99(within(requests[0].at + WARM_UP_MS, since)),
    filling: p99(within(since, full)),
    full: p99(within(full, Number.POSITIVE_INFINITY)),
    longest: Math.max(...within(since, Number.POSITIVE_INFINITY).map(({ latency }) => latency)),
  }
}

function table(samples: Sample[]): Table {
  const row = (name: string, all: number[]) => {
    const values = all.filter((value) => !Number.isNaN(value))
    return values.length === 0 ? [name, '–', '–'] : [name, median(values).toFixed(2), spread(values)]
  }
  return {
    head: ['writes of 4 KiB, 10 MB/s, spread at random', 'ms', 'min–max'],
    rows: [
      row(
        'p99 without a backup',
        samples.map(({ idle }) => idle),
      ),
      row(
        'p99 during it, until the buffer is full',
        samples.map(({ filling }) => filling),
      ),
      row(
        'p99 with a full buffer',
        samples.map(({ full }) => full),
      ),
      row(
        'longest during it',
        samples.map(({ longest }) => longest),
      ),
    ],
  }
}

function goals(samples: Sample[]): Goal[] {
  const ratios = samples.map(({ filling, idle }) => filling / idle)
  const longest = Math.max(...samples.map(({ longest }) => longest))
  return [
    {
      job: 'p99 of writes while a sink of 50 MB/s is too slow, until the buffer is full',
      goal: 'at most 2.5 times what it is without a backup',
      measured: `${median(ratios).toFixed(2)} times (${spread(ratios)})`,
      met: median(ratios) <= 2.5,
      value: median(ratios),
      why: 'fio, the sink, the scan and the server want two processors: one that wakes up while both are taken waits until the system takes one away from somebody, some milliseconds.',
    },
    {
      job: 'longest write of them all',
      goal: 'never beyond --max-stall, 10 s',
      measured: `${longest.toFixed(0)} ms`,
      met: longest <= MAX_STALL_MS,
    },
  ]
}
