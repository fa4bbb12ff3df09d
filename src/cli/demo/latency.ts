/** Makes a small table of how long the guest's writes took. */

import { columns } from '../text.ts'
import type { Write } from './journal.ts'

export interface Phase {
  name: string
  writes: readonly Write[]
}

export function latencyTable(phases: readonly Phase[]): string[] {
  const head = ["the guest's writes", 'number', 'a second', 'p50', 'p99', 'longest']
  const rows = phases.map(({ name, writes }) => {
    const latencies = writes.map(({ latency }) => latency).sort((a, b) => a - b)
    const times = [0.5, 0.99, 1].map((share) => `${percentile(latencies, share).toFixed(2)} ms`)
    return [name, String(writes.length), rate(writes), ...times]
  })
  return columns([head, ...rows])
}

/** The percentile of sorted values: the smallest value that at least this share of them does not exceed. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

function rate(writes: readonly Write[]): string {
  const seconds = ((writes.at(-1)?.begun ?? 0) - (writes[0]?.begun ?? 0)) / 1000
  return seconds > 0 ? String(Math.round(writes.length / seconds)) : '0'
}
