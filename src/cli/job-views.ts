/** What is shown of jobs: which there are, how far their runs are, how the last ones went. */

import { columns } from '../core/columns.ts'
import { printable, VmapipeError } from '../core/errors.ts'
import { formatRate } from '../core/size.ts'
import { findJob, installedJobs } from '../jobs/file/find-job.ts'
import { loadJob } from '../jobs/file/load.ts'
import type { RunReport } from '../jobs/report.ts'
import { askRun } from '../jobs/run/control.ts'
import type { RunStatus } from '../jobs/run/events.ts'
import { nextRun } from '../jobs/schedule.ts'
import { runtimeFolder, stateFolder } from '../jobs/state/folders.ts'
import { JobState } from '../jobs/state/job-state.ts'
import { localTime } from '../jobs/summary.ts'
import { guestLine } from './job-log.ts'
import { formatDuration } from './text.ts'

const SUFFIX = /^.*\/|\.(ya?ml|json)$/g

/** The name of the job that is given by a path or a name; its file need not be there any more. */
function nameOf(given: string): string {
  return given.replace(SUFFIX, '')
}

function stateOf(name: string): JobState {
  return new JobState(stateFolder(), name, () => {})
}

/** Asks the run of a job. Throws FAILED if it does not run. */
export async function ask(
  given: string,
  question: Parameters<typeof askRun>[2],
  untilEnd: boolean,
): Promise<RunStatus> {
  const status = await askRun(runtimeFolder(), nameOf(given), question, { untilEnd })
  if (status === null) throw new VmapipeError('FAILED', `the job '${nameOf(given)}' does not run now`)
  return status
}

export async function statusLines(given: string | undefined, json: boolean): Promise<string[]> {
  const names = given === undefined ? (await installedJobs()).map(({ name }) => name) : [nameOf(given)]
  const all = await Promise.all(names.map(async (name) => ({ name, ...(await statusOf(name)) })))
  if (json) return [JSON.stringify(given === undefined ? all : all[0], null, 2)]
  if (all.length === 0) return ['there are no jobs in the folders for them']
  return all.flatMap(({ name, running, killed, last }) =>
    [
      ...(running === null ? [] : runningLines(running)),
      ...(running === null && killed !== null
        ? [`${name}: the run ${killed.run} was killed; the next one makes it up`]
        : []),
      ...(running === null ? [`${name}: does not run${last === null ? '' : `; ${lastLine(last)}`}`] : []),
    ].map(printable),
  )
}

interface JobStatus {
  running: RunStatus | null
  /** A run that did not end by itself. */
  killed: RunStatus | null
  last: RunReport | null
}

async function statusOf(name: string): Promise<JobStatus> {
  const state = stateOf(name)
  const running = await askRun(runtimeFolder(), name, { ask: 'status' })
  const [last = null] = await state.reports(1)
  return { running, killed: running === null ? ((await state.status()) as RunStatus | null) : null, last }
}

function runningLines({ job, run, started, doing, rate, guests }: RunStatus): string[] {
  const limit = rate === null ? '' : `, at most ${formatRate(rate)}`
  return [
    `${job}: run ${run} since ${localTime(started)}: ${doing}${limit}`,
    ...guests.map((guest) => `  ${guestLine(guest)}`),
  ]
}

function lastLine({ ended, outcome, guests }: RunReport): string {
  const done = guests.filter((guest) => guest.outcome === 'done').length
  return `last run ended ${localTime(ended)}: ${outcome === 'all' ? 'all' : done} of ${guests.length} guests backed up`
}

export async function listJobs(json: boolean): Promise<string[]> {
  const jobs = await Promise.all(
    (await installedJobs()).map(async ({ name, file }) => {
      const [last = null] = await stateOf(name).reports(1)
      try {
        const { schedule, description = null } = await loadJob(file)
        return {
          name,
          file,
          description,
          schedule: schedule ?? [],
          next: await nextRun(schedule, Date.now()),
          last,
          problem: null,
        }
      } catch (error) {
        return { name, file, description: null, schedule: [], next: null, last, problem: (error as Error).message }
      }
    }),
  )
  if (json) return [JSON.stringify(jobs, null, 2)]
  if (jobs.length === 0) return ['there are no jobs in the folders for them']
  const rows = jobs.map(({ name, schedule, next, last, problem }) => [
    name,
    problem ?? (schedule.join(', ') || '-'),
    next === null ? '-' : localTime(next),
    last === null ? 'never' : localTime(last.ended),
    last === null ? '-' : last.outcome,
  ])
  return columns([['job', 'schedule', 'next', 'last', 'guests'], ...rows.map((row) => row.map(printable))])
}

export async function historyLines(given: string, last: number, json: boolean): Promise<string[]> {
  if (!Number.isInteger(last) || last < 1) throw new VmapipeError('USAGE', 'the number of runs is from 1 on')
  const reports = await stateOf(nameOf(given)).reports(last)
  if (reports.length === 0 && !given.includes('/')) await findJob(given)
  if (json) return [JSON.stringify(reports, null, 2)]
  if (reports.length === 0) return [`'${printable(nameOf(given))}' has not run yet`]
  const rows = reports.map(({ run, started, ended, outcome, guests, problem }) => {
    const failed = guests.filter((guest) => guest.outcome !== 'done').map(({ guest }) => guest)
    const seconds = (Date.parse(ended) - Date.parse(started)) / 1000
    const done = `${guests.length - failed.length} of ${guests.length}`
    const why =
      problem ?? (failed.length === 0 ? '' : `without ${failed.slice(0, 5).join(', ')}${failed.length > 5 ? '…' : ''}`)
    return [localTime(started), formatDuration(Math.max(0, seconds)), outcome, done, run, why]
  })
  return columns([['started', 'took', 'outcome', 'guests', 'run', ''], ...rows.map((row) => row.map(printable))])
}
