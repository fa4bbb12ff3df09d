/** What each stage of a run did with its time, so that a user sees what held the run back. */

import type { Gauged, Role } from './gauges.ts'

/** Times are in seconds, amounts in bytes. */
export interface StageStats {
  /** The name of the stage. */
  name: string
  /** What it reads from or writes to, such as "ssh"; null for other stages. */
  medium: string | null
  /** Items that it took, or gave if it is a source. */
  items: number
  /** Bytes of the items that it took. Clusters that are zero count for about the memory of their item. */
  bytesIn: number
  /** Bytes of the items that it gave. */
  bytesOut: number
  /** Time in which it worked, which includes waiting for its disk, its network or its own threads. */
  working: number
  /** Time in which it waited for an item. */
  waitingForInput: number
  /** Time in which it waited for the stages behind it: for room in the next queue, for memory that they hold, or for the processor that they use. */
  waitingForNext: number
  /** Memory that it holds now, and the most that it ever held. An item in the queue before a stage counts for that stage. */
  held: number
  mostHeld: number
}

/** The stage that worked the largest part of the time. */
export interface Bottleneck {
  stage: string
  medium: string | null
  /** `source` and `target` are the ends of the pipeline, `processor` is a stage between, `limit` one that delays on purpose. */
  kind: 'source' | 'processor' | 'target' | 'limit'
  /** Its part of the time, 0 to 1. */
  share: number
}

/** What the stages of a run did with their time up to now. */
export interface RunStats {
  /** Seconds since the first item could flow. */
  elapsed: number
  /** Whether the run is over, successfully or not. */
  ended: boolean
  stages: StageStats[]
  /** Null until any stage has worked. */
  bottleneck: Bottleneck | null
}

/** The statistics up to now. `began` is by `performance.now()`. */
export function statsOf(stages: readonly Gauged[], began: number, ended: boolean): RunStats {
  const elapsed = (performance.now() - began) / 1000
  const figures = stages.map(figuresOf)
  return { elapsed, ended, stages: figures, bottleneck: bottleneckOf(figures, stages, elapsed) }
}

function figuresOf({ gauge, role, medium }: Gauged): StageStats {
  gauge.settle()
  const { input, work, memory, next } = gauge.times
  const seconds = (ms: number) => ms / 1000
  return {
    name: gauge.name,
    medium: medium ?? null,
    items: role === 'source' ? gauge.itemsOut : gauge.itemsIn,
    bytesIn: gauge.bytesIn,
    bytesOut: gauge.bytesOut,
    working: seconds(work),
    waitingForInput: seconds(input),
    waitingForNext: seconds(next + memory),
    held: gauge.held,
    mostHeld: gauge.mostHeld,
  }
}

const KINDS: Record<Role, Bottleneck['kind']> = {
  source: 'source',
  stage: 'processor',
  limit: 'limit',
  target: 'target',
  // Never the slowest: its branches are.
  split: 'processor',
}

function bottleneckOf(figures: StageStats[], stages: readonly Gauged[], elapsed: number): Bottleneck | null {
  let slowest = 0
  for (const [index, { working }] of figures.entries()) {
    if (working > figures[slowest].working && stages[index].role !== 'split') slowest = index
  }
  const { name, medium, working } = figures[slowest]
  if (working === 0) return null
  return { stage: name, medium, kind: KINDS[stages[slowest].role], share: Math.min(1, working / elapsed) }
}
