/** What an agent is started with. */

import type { StartTask } from '../../jobs/run/worker.ts'

/** Milliseconds. Tests shorten them. */
export interface Timing {
  /** How long after a time of its schedule a host waits for the planner, before it begins the job itself. */
  grace: number
  /** Between two looks at the guests and jobs of the host. */
  look: number
  /** The inventory is sent so often, though nothing has changed. */
  resend: number
  /** A request for work waits at most so long. */
  poll: number
  /** An answer that takes longer than this (beside what it waits for) does not come. */
  answer: number
  /** The first and the longest time between two attempts to reach the planner. */
  retry: number
  longestRetry: number
  /** A night counts as ended if no part of it has run for so long, and guests are missing. */
  quiet: number
}

export const TIMING: Timing = {
  grace: 60_000,
  look: 60_000,
  resend: 600_000,
  poll: 20_000,
  answer: 15_000,
  retry: 1000,
  longestRetry: 60_000,
  quiet: 1_800_000,
}

export interface AgentOptions {
  /** The planner, such as https://planner:8443. Plain http is for this host alone. */
  url: string
  /** The text of the token. */
  token: string
  /** Certificates of the authority that has signed the planner's, as PEM; those of the system by default. */
  ca?: string | undefined
  /** Of this vmapipe, for people. */
  version?: string | undefined
  labels?: readonly string[] | undefined
  /** Guests at once; the largest `limits.parallel` of the job files by default. */
  parallel?: number | undefined
  /** Beginnings of places and folders of sockets that central jobs may use, beside those of the host's own job files. */
  allowPlaces?: readonly string[] | undefined
  allowSockets?: readonly string[] | undefined
  /** The folders of the state, of the locks, and those of the job files; those of this host by default. */
  state?: string | undefined
  runtime?: string | undefined
  jobFolders?: readonly string[] | undefined
  /** One line for the log. */
  log?: ((level: 'info' | 'warning', text: string) => void) | undefined
  timing?: Partial<Timing> | undefined
  start?: StartTask | undefined
}
