/** What each stage did with its time, as a table for people, and the stage that held the run back. */

import { formatBytes } from '../../core/size.ts'
import type { Bottleneck, RunStats, StageStats } from '../../core/stats.ts'
import { formatDuration } from '../text.ts'

const HEAD = [
  'stage',
  'items',
  'bytes in',
  'bytes out',
  'working',
  'waits for input',
  'waits for next',
  'memory, at most',
]

export function statsTable({ elapsed, stages, bottleneck }: RunStats): string[] {
  const rows = [HEAD, ...stages.map((stage) => row(stage, elapsed))]
  const widths = HEAD.map((_, column) => Math.max(...rows.map((cells) => cells[column].length)))
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('  '),
  )
  return bottleneck === null ? lines : [...lines, bottleneckLine(bottleneck)]
}

const WHAT: Record<Bottleneck['kind'], string> = {
  source: 'the source',
  processor: 'the processor',
  target: 'the target',
  limit: 'a limit',
}

/** "held back by the target: sink (ssh) took 81 % of the time" */
export function bottleneckLine({ stage, medium, kind, share }: Bottleneck): string {
  return `held back by ${WHAT[kind]}: ${named(stage, medium)} took ${Math.round(share * 100)} % of the time`
}

function row(stage: StageStats, elapsed: number): string[] {
  const time = (seconds: number) => {
    const percent = elapsed > 0 ? Math.min(100, Math.round((seconds / elapsed) * 100)) : 0
    return `${formatDuration(seconds)} ${String(percent).padStart(3)}%`
  }
  return [
    named(stage.name, stage.medium),
    String(stage.items),
    bytesOrNone(stage.bytesIn),
    bytesOrNone(stage.bytesOut),
    time(stage.working),
    time(stage.waitingForInput),
    time(stage.waitingForNext),
    formatBytes(stage.mostHeld),
  ]
}

function bytesOrNone(bytes: number): string {
  return bytes === 0 ? '-' : formatBytes(bytes)
}

function named(name: string, medium: string | null): string {
  return medium === null ? name : `${name} (${medium})`
}
