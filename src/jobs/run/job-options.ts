/** How a job is run. */

import type { Clock } from '../clock.ts'
import type { RunEvent } from './events.ts'
import type { StartTask } from './worker.ts'

export interface JobOptions {
  signal?: AbortSignal | undefined
  /** Names of the guests, if not all of them are to be backed up. */
  guests?: readonly string[] | undefined
  /** Begins at once, whatever the window says. */
  ignoreWindow?: boolean | undefined
  /** Full archives, whatever the rhythm says. */
  full?: boolean | undefined
  clock?: Clock
  /** The folders of the state and of the locks; those of this host by default. */
  state?: string | undefined
  runtime?: string | undefined
  onEvent?: (event: RunEvent) => void
  start?: StartTask
  /** Tells those whom the job names. */
  tell?: boolean | undefined
  /** When the next run begins, for the report. */
  next?: () => Promise<string | null>
}
