/** Runs a job without a command line: for the library. */

import { abortSignal, callback, checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import type { Job } from './file/schema.ts'
import type { RunReport } from './report.ts'
import type { RunJobOptions } from './run/job-options.ts'

const shape = {
  signal: abortSignal,
  guests: names,
  ignoreWindow: flag,
  full: flag,
  due: z.int().min(0),
  state: text,
  runtime: text,
  onEvent: callback,
  tell: flag,
  next: callback,
} satisfies Shape<RunJobOptions>

/**
 * Runs a job once: its guests are found, and backed up in processes of their own within the job's limits. It waits for the job's window.
 * What fails is in the report, and rejects nothing. Errors: FAILED if the job runs already, USAGE for guests that it does not have.
 *
 *     const job = await loadJob('/etc/vmapipe/jobs/nightly.yaml')
 *     const { outcome, guests } = await runJob(job, {
 *       onEvent: (event) => {
 *         if (event.type === 'guest') console.log(event.progress.guest, event.progress.phase, event.progress.snapshot?.percent)
 *       },
 *     })
 *     for (const { guest, reason } of guests) if (reason !== undefined) console.log(guest, reason)
 *     process.exitCode = outcome === 'all' ? 0 : 1
 */
export async function runJob(job: Job, options: RunJobOptions = {}): Promise<RunReport> {
  checkOptions('runJob', { shape }, options)
  const { JobRun } = await import('./run/job-run.ts')
  return new JobRun(job, options).run()
}
