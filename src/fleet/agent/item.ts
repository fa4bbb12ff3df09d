/** Something that an agent does, and what it does it with. */

import type { GuestProgress } from '../../jobs/run/events.ts'
import type { StartTask } from '../../jobs/run/worker.ts'
import type { AgentEvent } from '../messages/events.ts'
import type { ArchiveLists } from './archives.ts'
import type { HostJobs } from './host-jobs.ts'
import type { Nights } from './nights.ts'

/** Why backups end when the agent does. Such a guest is given again, so it is not told as canceled. */
export const STOPPED = 'the agent was ended'

export interface DeskOptions {
  jobs: HostJobs
  nights: Nights
  lists: ArchiveLists
  state: string
  runtime: string
  start: StartTask | undefined
  /** Guests at once. */
  parallel: number
  tell: (event: AgentEvent) => void
  /** Whether the end of a work waits to be told to the planner, also that of an earlier start of the agent. */
  hasEndOf: (work: string) => boolean
  log: (level: 'info' | 'warning', text: string) => void
  /** Something has changed that the inventory tells. */
  changed: () => void
  /** Sends every list of archives; called for `report`. */
  report: (archives: boolean, signal: AbortSignal) => Promise<void>
}

/** Something that is done. */
export interface Item {
  /** Null for what the host began by its own schedule. */
  work: string | null
  job: string
  guest: string | null
  due: number | null
  since: string
  places: string[]
  progress: GuestProgress | null
  readonly signal: AbortSignal
}

export function isStopped(signal: AbortSignal): boolean {
  return signal.aborted && (signal.reason as Error)?.message === STOPPED
}
