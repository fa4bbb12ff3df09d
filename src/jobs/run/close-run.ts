/** What is done when a run has ended: its report is kept, and told to people and programs. What fails here fails no run. */

import { asVmapipeError } from '../../core/errors.ts'
import type { Job } from '../file/schema.ts'
import type { RunReport } from '../report.ts'
import type { JobState } from '../state/job-state.ts'
import { runHook } from './hooks.ts'

interface CloseOptions {
  state: JobState
  /** Whether those are told whom the job names. */
  tell: boolean
  warn: (text: string) => void
}

export async function closeRun(job: Job, report: RunReport, { state, tell, warn }: CloseOptions): Promise<void> {
  const { run, outcome, guests } = report
  const done = guests.filter((guest) => guest.outcome === 'done').length
  const about = { run, outcome, done, guests: guests.length }
  await runHook(job, 'end', { about, signal: new AbortController().signal }).catch((error) =>
    warn(asVmapipeError(error).text),
  )
  const [before] = await state.reports(1)
  await state.saveReport(report)
  if (job.metrics !== undefined) {
    const { writeMetrics } = await import('../metrics.ts')
    await writeMetrics(job, report, await state.guests()).catch((error) =>
      warn(`the metrics are not written: ${asVmapipeError(error).text}`),
    )
  }
  if (!tell || job.notify === undefined) return
  const { notify } = await import('../notify/notify.ts')
  const changed = before !== undefined && before.outcome !== outcome
  await notify(job, outcome === 'all' ? 'success' : 'failure', report, { changed, warn })
}

export async function tellStart(job: Job, report: RunReport, warn: (text: string) => void): Promise<void> {
  if (job.notify === undefined) return
  const { notify } = await import('../notify/notify.ts')
  await notify(job, 'start', report, { warn })
}
