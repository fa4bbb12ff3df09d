/** What is done when a run has ended: its report is kept, and told to people and programs. What fails here fails no run. */

import { asVmapipeError } from '../../core/errors.ts'
import type { Job } from '../file/schema.ts'
import type { RunReport } from '../report.ts'
import type { GuestState, JobState } from '../state/job-state.ts'
import { runHook } from './hooks.ts'
import { mergedReport, runOfDue } from './merge-reports.ts'
import { sampleInTurn } from './sample-turn.ts'

interface CloseOptions {
  state: JobState
  states: ReadonlyMap<string, GuestState>
  /** Whether those are told whom the job names. */
  tell: boolean
  warn: (text: string) => void
}

export async function closeRun(job: Job, report: RunReport, options: CloseOptions): Promise<void> {
  const { state, states, tell, warn } = options
  const before = (await state.reports(2)).find(({ run }) => run !== report.run)
  await state.saveReport(report)
  if (job.metrics !== undefined) {
    const { writeMetrics } = await import('../metrics.ts')
    await writeMetrics(job, report, states).catch((error) =>
      warn(`the metrics are not written: ${asVmapipeError(error).text}`),
    )
  }
  if (!tell || job.notify === undefined) return
  const { notify } = await import('../notify/notify.ts')
  const changed = before !== undefined && before.outcome !== report.outcome
  await notify(job, report.outcome === 'all' ? 'success' : 'failure', report, { changed, warn })
}

/** Keeps the report of a part of a night. Returns that of the night so far. Parts of one job are given in turn. */
export async function keepPart(part: RunReport, state: JobState): Promise<RunReport> {
  const report = mergedReport(await state.report(part.run), part)
  await state.saveReport(report)
  return report
}

interface NightOptions extends Omit<CloseOptions, 'states'> {
  /** When it was due: milliseconds since 1970. */
  due: number
  next: string | null
  signal: AbortSignal
}

/**
 * Ends a night whose guests were backed up one by one (`part`): old archives are verified in turn, metrics are written, and people are told
 * once. Returns its report; null if nothing was done in it. Errors: ABORTED.
 */
export async function closeNight(job: Job, { due, next, signal, ...options }: NightOptions): Promise<RunReport | null> {
  const { state, warn } = options
  const night = await state.report(runOfDue(due))
  if (night === null) return null
  const problems = await sampleInTurn(job, job.to, { signal, warn })
  const problem = [...(night.problem === undefined ? [] : [night.problem]), ...problems].join('; ')
  const report: RunReport = {
    ...night,
    next,
    ...(problem !== '' && { problem, outcome: night.outcome === 'all' ? 'some' : night.outcome }),
  }
  await closeRun(job, report, { ...options, states: await state.guests() })
  return report
}

export async function runEndHook(job: Job, report: RunReport, warn: (text: string) => void): Promise<void> {
  const { run, outcome, guests } = report
  const done = guests.filter((guest) => guest.outcome === 'done').length
  const about = { run, outcome, done, guests: guests.length }
  await runHook(job, 'end', { about, signal: new AbortController().signal }).catch((error) =>
    warn(asVmapipeError(error).text),
  )
}

export async function tellStart(job: Job, report: RunReport, warn: (text: string) => void): Promise<void> {
  if (job.notify === undefined) return
  const { notify } = await import('../notify/notify.ts')
  await notify(job, 'start', report, { warn })
}
