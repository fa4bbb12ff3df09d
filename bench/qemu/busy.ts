/** What is left of a busy guest's writes while its drives are backed up, each way. */

import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { median, pairRatio, spread } from '../statistics.ts'
import type { Goal, Settings, Table } from '../topic.ts'
import { Drives } from './drives.ts'
import { WAYS, type Way } from './ways.ts'
import { longest, rate } from './written.ts'

const DRIVES = 2
/** Writes a second to each drive at most; 0 for as many as there can be. */
const LOADS = { 'as fast as can be': 0, '500 a second and drive': 500 }
/** Connections, memory and compiled code are there after this; then it is idle for so long. */
const WARM_UP_MS = 1500
const IDLE_MS = 2000
const FIRST_MS = 2000

interface Sample {
  /** Writes a second: before the backup, in its first two seconds (or all of it, where it is shorter), in all of it. */
  idle: number
  first: number
  whole: number
  /** Milliseconds: the longest write, and the backup. */
  longest: number
  took: number
}

export async function busy(image: string, { runs, folder }: Settings): Promise<{ table: Table; goals: Goal[] }> {
  const samples: Samples = new Map()
  for (let run = 0; run < runs; run++) {
    for (const [load, pace] of Object.entries(LOADS)) {
      for (const [name, way] of Object.entries(WAYS)) {
        const sample = await measure(way, pace, image, join(folder, 'busy'))
        samples.set(key(load, name), [...(samples.get(key(load, name)) ?? []), sample])
        process.stderr.write(`  run ${run + 1}  ${load}: ${name}\n`)
      }
    }
  }
  return { table: table(samples), goals: goals(samples) }
}

type Samples = Map<string, Sample[]>

const key = (load: string, way: string) => `${load}: ${way}`

async function measure(way: Way, pace: number, image: string, folder: string): Promise<Sample> {
  mkdirSync(folder)
  try {
    const images = Array.from({ length: DRIVES }, (_, index) => join(folder, `drive${index}.raw`))
    for (const copy of images) copyFileSync(image, copy)
    const drives = await Drives.start(images, folder)
    const writer = await drives.writer(pace)
    await sleep(WARM_UP_MS + IDLE_MS)
    const before = Date.now()
    let since = 0
    await way(drives, folder, () => {
      since = Date.now()
    })
    const until = Date.now()
    const written = await writer.stop()
    await drives.stop()
    return {
      idle: rate(written, before - IDLE_MS, before),
      first: rate(written, since, Math.min(since + FIRST_MS, until)),
      whole: rate(written, since, until),
      longest: longest(written, before, until),
      took: until - since,
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function table(samples: Samples): Table {
  const cells = (values: number[], digits = 0) => [median(values).toFixed(digits), spread(values, digits)]
  const row = (load: string, way: string) => {
    const of = (figure: keyof Sample) => samples.get(key(load, way))!.map((sample) => sample[figure])
    return [
      ...[load, way, ...cells(of('idle')), ...cells(of('first')), ...cells(of('whole'))],
      ...[pairRatio(of('whole'), of('idle')).toFixed(2), median(of('longest')).toFixed(0)],
      (median(of('took')) / 1000).toFixed(1),
    ]
  }
  return {
    head: [
      ...['writes', 'backup', 'writes/s without it', 'min–max', 'its first 2 s', 'min–max', 'the whole of it'],
      ...['min–max', 'left', 'longest ms', 'backup s'],
    ],
    rows: Object.keys(LOADS).flatMap((load) => Object.keys(WAYS).map((way) => row(load, way))),
  }
}

function goals(samples: Samples): Goal[] {
  const [guarded, push] = Object.keys(WAYS)
  return Object.keys(LOADS).flatMap((load) => {
    const of = (way: string, figure: keyof Sample) => samples.get(key(load, way))!.map((sample) => sample[figure])
    const job = `writes under guarded push, ${load}`
    const [whole, idle] = [of(guarded, 'whole'), of(guarded, 'idle')]
    return [
      least(`${job}, the whole backup`, 'at least 0.45 of what it is without', whole, idle, 0.45, FIRST_WRITES),
      least(
        `${job}, its first 2 s`,
        'at least 0.3 of what it is without',
        of(guarded, 'first'),
        idle,
        0.3,
        FIRST_WRITES,
      ),
      least(`${job}, against plain push`, 'no less than under it', whole, of(push, 'whole'), 1),
    ]
  })
}

const FIRST_WRITES =
  'here a write takes a sixth of a millisecond, and the first write to a cluster waits for QEMU to read 64 KiB, to send them, and to hear from us that they have come, one ' +
  'after the other in one thread that serves the guest too. QEMU would have to let the write go on as soon as the old data is read and kept in its own ' +
  'memory, up to a bound, and to send it later.'

function least(job: string, goal: string, ours: number[], theirs: number[], atLeast: number, why?: string): Goal {
  const ratio = pairRatio(ours, theirs)
  const range = spread(ours.map((value, run) => value / theirs[run]))
  const measured = `${ratio.toFixed(2)} times (${range})`
  return { job, goal, measured, met: ratio >= atLeast, value: 1 / ratio, why }
}
