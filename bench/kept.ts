/** results.json, beside RESULTS.md: the numbers that a later run is compared with. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Goal } from './topic.ts'

const FILE = join(import.meta.dirname, 'results.json')

/** How much worse a number may get: machines differ from one hour to the next. */
const TOLERANCE = 1.15

interface Kept {
  commit: string
  date: string
  /** Of each job a ratio, or another number that is better if it is less. */
  values: Record<string, number>
}

export function keptResults(): Record<string, Kept> {
  return existsSync(FILE) ? JSON.parse(readFileSync(FILE, 'utf8')) : {}
}

export function keepResults(topic: string, goals: readonly Goal[], { commit, date }: Omit<Kept, 'values'>): void {
  const values = Object.fromEntries(
    goals.flatMap(({ job, value }) => (value === undefined ? [] : [[job, Number(value.toPrecision(4))]])),
  )
  const all = { ...keptResults(), [topic]: { commit, date, values } }
  writeFileSync(FILE, `${JSON.stringify(all, null, 2)}\n`)
}

export interface Compared {
  job: string
  kept: number
  now: number
  worse: boolean
}

/** The jobs that were measured then and now. */
export function compare(goals: readonly Goal[], values: Record<string, number>): Compared[] {
  return goals.flatMap(({ job, value: now }) => {
    const kept = values[job]
    if (kept === undefined || now === undefined) return []
    return [{ job, kept, now, worse: now > kept * TOLERANCE }]
  })
}
