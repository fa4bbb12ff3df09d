/** What retention is to keep, written without regard to time: the rules as the documentation of Proxmox tells them, in UTC. */

import type { Keep } from '../../src/catalog/retention.ts'

/** The times (seconds since 1970, the newest first) that these rules keep. */
export function modelOfKeep(times: readonly number[], keep: Keep): Set<number> {
  const periods: [number, (time: number) => string][] = [
    [keep.last ?? 0, String],
    [keep.hourly ?? 0, (time) => new Date(time * 1000).toISOString().slice(0, 13)],
    [keep.daily ?? 0, (time) => new Date(time * 1000).toISOString().slice(0, 10)],
    [keep.weekly ?? 0, (time) => String(Math.floor((time / 86_400 + 3) / 7))],
    [keep.monthly ?? 0, (time) => new Date(time * 1000).toISOString().slice(0, 7)],
    [keep.yearly ?? 0, (time) => new Date(time * 1000).toISOString().slice(0, 4)],
  ]
  const marks = new Map<number, boolean>()
  for (const [count, periodOf] of periods) {
    if (count === 0) continue
    const included = [...marks].filter(([, keeps]) => keeps).map(([time]) => periodOf(time))
    const found: string[] = []
    for (const time of times) {
      if (marks.has(time) || included.includes(periodOf(time))) continue
      if (found.includes(periodOf(time))) {
        marks.set(time, false)
        continue
      }
      if (found.length >= count) break
      found.push(periodOf(time))
      marks.set(time, true)
    }
  }
  return new Set([...marks].filter(([, keeps]) => keeps).map(([time]) => time))
}
