/** Commands measured side by side, as tables and goals of a section. */

import { statSync } from 'node:fs'
import type { Measured } from './measure.ts'
import { median, pairRatio, spread } from './statistics.ts'
import type { Goal, Table } from './topic.ts'

export const MEMORY_GOAL = 256 << 20

export const walls = ({ samples }: Measured): number[] => samples.map(({ wall }) => wall)

/** One row a command. Processor time and memory are the median and the largest of its runs. */
export function timesTable(measured: readonly Measured[], note: (name: string) => string = () => ''): Table {
  return {
    head: ['command', 'wall s', 'min–max', 'CPU s', 'peak MiB', 'runs', ''],
    rows: measured.map((entry) => [
      entry.command.name,
      median(walls(entry)).toFixed(2),
      spread(walls(entry)),
      median(entry.samples.map(({ cpu }) => cpu)).toFixed(2),
      (peak(entry) / 2 ** 20).toFixed(0),
      String(entry.samples.length),
      note(entry.command.name),
    ]),
  }
}

export function peak({ samples }: Measured): number {
  return Math.max(...samples.map(({ memory }) => memory))
}

export function find(measured: readonly Measured[], name: string): Measured {
  const found = measured.find(({ command }) => command.name === name)
  if (found === undefined) throw new Error(`nothing was measured under the name ${name}`)
  return found
}

export interface RatioGoal {
  job: string
  goal: string
  ours: string
  theirs: string
  /** The goal is met when our time is at most this many times theirs. */
  atMost: number
  why?: string
}

/** Goals about our time against that of another command. */
export function ratioGoals(measured: readonly Measured[], goals: readonly RatioGoal[]): Goal[] {
  return goals.map(({ job, goal, ours, theirs, atMost, why }) => {
    const [a, b] = [walls(find(measured, ours)), walls(find(measured, theirs))]
    const ratio = pairRatio(a, b)
    const range = spread(
      a.map((wall, run) => wall / b[run]),
      2,
    )
    const measuredText = `${ratio.toFixed(2)} times its time (${range})`
    return { job, goal, measured: measuredText, met: ratio <= atMost, value: ratio, why }
  })
}

export function memoryGoal(measured: readonly Measured[], ours: (name: string) => boolean): Goal {
  const largest = measured.filter(({ command }) => ours(command.name)).toSorted((a, b) => peak(b) - peak(a))[0]
  return {
    job: 'resident memory of all of them',
    goal: 'under 256 MiB',
    measured: `at most ${(peak(largest) / 2 ** 20).toFixed(0)} MiB (${largest.command.name})`,
    met: peak(largest) < MEMORY_GOAL,
  }
}

export function mebibytes(path: string): string {
  return `${(statSync(path).size / 2 ** 20).toFixed(0)} MiB`
}
