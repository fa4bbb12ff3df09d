/** The options of a run, and what it ends with. */

import * as z from 'zod'
import { Arena } from './arena.ts'
import { Counters } from './counters.ts'
import type { Snapshot } from './meter.ts'
import { abortSignal, atLeastOne, callback, type Shape } from './options.ts'
import type { RunStats } from './stats.ts'

/** 64 MiB: enough to keep two processors and a disk busy at the same time. */
export const DEFAULT_BUDGET = 64 << 20

/** How a pipeline runs. Every operation takes these options too. */
export interface RunOptions {
  /** Bytes of memory that all stages together may hold; 64 MiB by default. */
  buffer?: number
  /** The memory that is used first; further memory is allocated. Without an arena all of it is allocated. */
  arena?: Arena
  /** Processor-bound tasks that run at once; the number of processors by default. */
  threads?: number
  /** Aborts the run: it ends with the error ABORTED when every stage is closed. */
  signal?: AbortSignal
  /** Counters that the stages add to; new ones by default. */
  counters?: Counters
  /** Takes one line for the user that is not an error, and the name of the stage that reports it. */
  warn?: (message: string, stage?: string) => void
  /** Takes a line for a log of the run; `fields` say the same to programs. */
  inform?: (message: string, fields?: object) => void
  /** Called four times a second with the progress of the run. */
  onProgress?: (snapshot: Snapshot) => void
  /**
   * Called four times a second, and once at the end, with what each stage did with its time. It is called by each pipeline of an operation
   * that runs several. Times are taken only if this is given, which costs less than a microsecond for an item and stage.
   */
  onStats?: (stats: RunStats) => void
  /** Seconds after which a run in which nothing moves is warned about, with the stage that is the cause; 30 by default. */
  stallSeconds?: number
}

export const runShape = {
  buffer: atLeastOne,
  arena: z.instanceof(Arena),
  threads: atLeastOne,
  signal: abortSignal,
  counters: z.instanceof(Counters),
  warn: callback,
  inform: callback,
  onProgress: callback,
  onStats: callback,
  stallSeconds: z.number().positive(),
} satisfies Shape<RunOptions>

/** The options of a run among those of an operation. */
export function runOptionsOf(options: RunOptions): RunOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in runShape))
}

/** What a pipeline ends with. */
export interface RunResult {
  counters: Counters
  /** The most bytes that were on lease at once. */
  highWater: number
  /** Bytes that were never given back: zero unless a stage forgets to release an item. */
  leaked: number
  seconds: number
  /** What stages had to say at the end, in a line each. */
  conclusions: string[]
}
