/** Runs a job with everything around it that a command line wants: Ctrl-C, progress, warnings. */

import { Counters } from '../core/counters.ts'
import type { RunOptions } from '../core/pipeline.ts'
import type { RunFlags } from './flags.ts'
import { type Display, makeDisplay } from './progress/display.ts'
import { Meter, type Snapshot } from './progress/meter.ts'
import { interruptible } from './signals.ts'

const LOOK_MS = 250

/** What the job has to say at its end: lines for people, not shown in JSON, which has the numbers. */
export type Summarize<T> = (result: T, whole: Snapshot) => string[]

/** Says a line while the job runs; programs get `fields` with it. */
export type Note = (line: string, fields?: object) => void

export async function runJob<T>(
  title: string,
  flags: RunFlags,
  job: (options: RunOptions, note: Note) => Promise<T>,
  summarize: Summarize<T> = () => [],
): Promise<T> {
  const display = makeDisplay(title, flags)
  const { signal, dispose } = interruptible()
  try {
    return await watched(display, flags, signal, job, summarize)
  } finally {
    dispose()
  }
}

async function watched<T>(
  display: Display,
  { buffer, threads, progress }: RunFlags,
  signal: AbortSignal,
  job: (options: RunOptions, note: Note) => Promise<T>,
  summarize: Summarize<T>,
): Promise<T> {
  const counters = new Counters()
  const meter = new Meter(counters)
  const timer = setInterval(() => display.update(meter.look()), LOOK_MS)
  let whole: Snapshot | null = null
  try {
    const warn = (message: string) => display.note('warning', message)
    const result = await job(
      {
        signal,
        counters,
        warn,
        ...(buffer !== undefined && { buffer }),
        ...(threads !== undefined && { threads }),
      },
      (line, fields) => display.note('info', line, fields),
    )
    whole = meter.summary()
    if (progress !== 'json') for (const line of summarize(result, whole)) display.note('info', line)
    return result
  } finally {
    clearInterval(timer)
    display.end(whole)
  }
}
