/** The processor time of our main thread alone: the ceiling of a host with many processors, however many there are. */

import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { measure } from './measure.ts'
import { median } from './statistics.ts'
import type { Goal, Settings } from './topic.ts'

/** Runs in the measured process before it: writes the time when the process ends. */
const preload = (report: string) =>
  `data:text/javascript,${encodeURIComponent(`
import { writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
if (isMainThread) process.on('exit', () => {
  const { user, system } = process.threadCpuUsage()
  writeFileSync(${JSON.stringify(report)}, String((user + system) / 1e6))
})`)}`

interface MainThread {
  job: string
  argv: string[]
  makes: string[]
  /** GiB of data that the command works on. */
  data: number
  /** Seconds a GiB. */
  atMost: number
}

/** Start-up is in it. */
export async function mainThreadGoal(
  { job, argv: [node, ...words], makes, data, atMost }: MainThread,
  { folder, runs }: Settings,
): Promise<Goal> {
  const report = join(folder, 'main-thread.txt')
  const seconds: number[] = []
  for (let run = 0; run < Math.min(runs, 3); run++) {
    await measure({ name: job, argv: [node, '--import', preload(report), ...words], makes }, folder)
    seconds.push(Number(readFileSync(report, 'utf8')) / data)
  }
  for (const path of makes) rmSync(path, { force: true })
  const value = median(seconds)
  return {
    job,
    goal: `at most ${atMost} s of the main thread's own time a GiB`,
    measured: `${value.toFixed(2)} s`,
    met: value <= atMost,
    value,
  }
}
