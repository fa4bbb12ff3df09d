/** Backs up one guest of a job, with the time at which it was due. */

import { randomUUID } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { JobRun } from '../../jobs/run/job-run.ts'
import { isOpen, nextBegin } from '../../jobs/run/window.ts'
import type { EndedEvent } from '../messages/events.ts'
import { type DeskOptions, type Item, STOPPED } from './item.ts'

interface Asked {
  job: string
  guest: string
  /** Milliseconds since 1970. */
  due: number
  full: boolean
  /** The window of the job does not count. */
  now: boolean
}

/** A planner's clock may be ahead of the host's: then the host waits for its own, as an archive of the future stops retention. */
const MOST_AHEAD_MS = 3_600_000
/** An archive that claims to be so old would be removed by retention, or push out others. */
const MOST_OLD_MS = 31 * 86_400_000

/** Returns the event of its end, which was told; null if there is none. Errors: USAGE for what is refused, FAILED, ABORTED. */
export async function doRun(
  item: Item,
  { job: name, guest, due, full, now }: Asked,
  options: DeskOptions,
  event = `${item.job}-${due}-${randomUUID()}`,
): Promise<EndedEvent | null> {
  const { signal } = item
  const job = await jobOf(name, options)
  item.places = job.to.map(({ place }) => place)
  await untilDue(due, signal)
  if (!now) refuseBehindWindow(job)
  const report = await new JobRun(job, {
    ...{ guests: [guest], due, full, part: true, signal, ...(now ? { ignoreWindow: true } : { isWindowOpen: true }) },
    ...{ state: options.state, runtime: options.runtime, start: options.start },
    onEvent(happened) {
      if (happened.type === 'guest') item.progress = happened.progress
      else if (happened.type === 'note' && happened.level === 'warning')
        options.log('warning', `${name}: ${happened.guest ?? guest}: ${happened.text}`)
    },
  }).run()
  const [ended] = report.guests
  if (ended === undefined)
    throw new VmapipeError(signal.aborted ? 'ABORTED' : 'FAILED', report.problem ?? 'nothing was done')
  const reason = ended.reason ?? report.problem
  options.log(
    ended.outcome === 'done' ? 'info' : 'warning',
    `${name}: ${guest}: ${line(ended.outcome, ended.already, reason)}`,
  )
  await tellArchives(job, guest, options)
  // It is given again to the next start of the agent.
  if (ended.reason === STOPPED) return null
  const told: EndedEvent = {
    id: `ended-${event}`.slice(0, 200),
    at: new Date().toISOString(),
    event: 'ended',
    work: item.work,
    job: name,
    run: report.run,
    guest,
    started: report.started,
    outcome: ended.outcome,
    ...(ended.already && { already: true }),
    report: { ...ended, ...(ended.outcome !== 'done' && reason !== undefined && { reason }) },
  }
  options.tell(told)
  return told
}

/** The job as its file is now. Errors: USAGE if the host does not have it, or it cannot be run. */
export async function jobOf(name: string, { jobs }: Pick<DeskOptions, 'jobs'>): Promise<Job> {
  const found = (await jobs.all()).find((one) => one.name === name)
  if (found?.job) return found.job
  throw new VmapipeError('USAGE', found === undefined ? `this host has no job '${name}'` : found.problem!)
}

async function untilDue(due: number, signal: AbortSignal): Promise<void> {
  const ahead = due - Date.now()
  if (ahead > MOST_AHEAD_MS)
    throw new VmapipeError('USAGE', 'it is not due yet: the clock of the planner is wrong, or that of this host')
  if (-ahead > MOST_OLD_MS) throw new VmapipeError('USAGE', 'it was due more than 31 days ago')
  if (ahead > 0) await sleepUntilAborted(ahead, signal)
}

/**
 * It was given while its window was open, which has ended meanwhile: it would wait for the next one, and keep its slots from others. If the window begins
 * soon, only the clock of this host is behind. Throws FAILED: the planner gives it again when the window is open.
 */
function refuseBehindWindow({ name, limits }: Job): void {
  const window = limits?.window
  const now = Date.now()
  if (window === undefined || isOpen(window, now) || nextBegin(window, now) - now <= MOST_AHEAD_MS) return
  throw new VmapipeError('FAILED', `the window of the job '${name}' has ended before its turn`)
}

function line(outcome: string, already: boolean | undefined, reason: string | undefined): string {
  if (already) return 'its archive is there already'
  if (outcome === 'done') return 'backed up'
  return `${outcome}${reason === undefined ? '' : `: ${reason}`}`
}

/** What cannot be listed now is told with the next backup. */
export async function tellArchives(job: Job, guest: string, { lists, tell, log }: DeskOptions): Promise<void> {
  const warn = (text: string) => log('warning', `${job.name}: ${text}`)
  try {
    for (const event of await lists.of(job, guest, { signal: AbortSignal.timeout(120_000), warn })) tell(event)
  } catch (error) {
    warn(asVmapipeError(error).text)
  }
}
