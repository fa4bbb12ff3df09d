/** Runs an operation with what a command line adds to it: Ctrl-C, progress, warnings, the log. */

import { Counters } from '../core/counters.ts'
import { Meter, type Snapshot, watchProgress } from '../core/meter.ts'
import type { RunOptions } from '../core/pipeline.ts'
import type { RunStats } from '../core/stats.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import type { RunFlags } from './flags.ts'
import type { Display } from './progress/display.ts'
import { makeDisplay } from './progress/make-display.ts'
import { statsTable } from './progress/stats-table.ts'
import { interruptible } from './signals.ts'

/** Makes the lines for people at the end of the operation. With JSON they are not shown, as it has the numbers. */
type Summarize<T> = (result: T, whole: Snapshot) => string[]

/** Called with the state of the guest of a live backup. */
type OnGuest = (status: GuestStatus) => void

/** The log of the command that runs, which `endLog` closes: a command may run several operations, one after the other. */
let log: { display: Display; begun: number } | null = null

export async function runOperation<T>(
  title: string,
  flags: RunFlags,
  operation: (options: RunOptions, onGuest: OnGuest) => Promise<T>,
  summarize: Summarize<T> = () => [],
): Promise<T> {
  const display = makeDisplay(title, flags)
  log ??= { display, begun: performance.now() }
  const counters = new Counters()
  const meter = new Meter(counters)
  const { signal, dispose } = interruptible({
    tell: () => display.asked(meter.look()),
    close: () => display.close(),
  })
  try {
    return await watched(display, flags, { signal, counters }, operation, summarize)
  } finally {
    dispose()
  }
}

/** Writes the last line of the log, after an error was shown. */
export function endLog(exitCode: number): void {
  if (log !== null) log.display.exit(exitCode, (performance.now() - log.begun) / 1000)
  log = null
}

async function watched<T>(
  display: Display,
  { buffer, threads, stats, progress }: RunFlags,
  common: { signal: AbortSignal; counters: Counters },
  operation: (options: RunOptions, onGuest: OnGuest) => Promise<T>,
  summarize: Summarize<T>,
): Promise<T> {
  const tables: string[] = []
  const onStats = (latest: RunStats) => {
    display.stats(latest)
    if (stats && latest.ended) tables.push(...statsTable(latest))
  }
  const endWatch = watchProgress(common.counters, (snapshot) => display.update(snapshot))
  try {
    const result = await operation(
      {
        ...common,
        warn: (message, stage) => display.note('warning', message, stage === undefined ? {} : { stage }),
        inform: (message, fields) => display.note('info', message, fields),
        ...((stats || progress === 'json') && { onStats }),
        ...(buffer !== undefined && { buffer }),
        ...(threads !== undefined && { threads }),
      },
      (status) => display.guest(status),
    )
    const whole = endWatch()
    display.summary(summarize(result, whole), whole)
    return result
  } finally {
    endWatch()
    display.table(tables)
    display.close()
  }
}
