/** Bytes a second behind each stage, from the totals that come with each look. */

import { useRef } from 'preact/hooks'
import type { RunStats } from '../../../../core/stats.ts'

interface Sample {
  elapsed: number
  out: number[]
}

const WINDOW_SECONDS = 5

/** Over the last seconds; at first over the whole run. */
export function useRates(stats: RunStats): number[] {
  const samples = useRef<Sample[]>([])
  const out = stats.stages.map(({ bytesOut }) => bytesOut)
  const list = samples.current
  const last = list.at(-1)
  // Another run began, or another pipeline in the same one.
  if (last && (stats.elapsed < last.elapsed || out.length !== last.out.length)) list.length = 0
  if (list.at(-1)?.elapsed !== stats.elapsed) list.push({ elapsed: stats.elapsed, out })
  while (list.length > 2 && list[1].elapsed <= stats.elapsed - WINDOW_SECONDS) list.shift()
  const first = list.length > 1 ? list[0] : { elapsed: 0, out: out.map(() => 0) }
  const seconds = stats.elapsed - first.elapsed
  return out.map((bytes, index) => (seconds > 0 ? Math.max(0, bytes - first.out[index]) / seconds : 0))
}
