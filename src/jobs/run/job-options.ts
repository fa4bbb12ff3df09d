/** How a job is run. */

import type { Clock } from '../clock.ts'
import type { RunEvent } from './events.ts'
import type { StartTask } from './worker.ts'

/** How a run goes, of what a program may say. */
export interface RunJobOptions {
  /** Ends the run: the guests are free within two seconds, and what has been written of an archive is removed. */
  signal?: AbortSignal | undefined
  /** Names of the guests, if not all of them are to be backed up. */
  guests?: readonly string[] | undefined
  /** Begins at once, whatever the window says. */
  ignoreWindow?: boolean | undefined
  /** Full archives, whatever the rhythm says. */
  full?: boolean | undefined
  /**
   * When it was due, in milliseconds since 1970. It is the time in the names of the archives: a guest whose archive of that name is there at
   * all required places is done already, and nothing is done. Reports of the same time become one.
   */
  due?: number | undefined
  /** The folder of what jobs remember; that of this host by default. */
  state?: string | undefined
  /** The folder of locks and sockets; that of this host by default. Two runs know of each other only if they share it. */
  runtime?: string | undefined
  /** Told how it goes. It must not throw. */
  onEvent?: ((event: RunEvent) => void) | undefined
  /** Tells those whom the job names: `notify` and `metrics` of the job file. False by default. */
  tell?: boolean | undefined
  /** When the next run begins, as ISO 8601, for the report. */
  next?: (() => Promise<string | null>) | undefined
}

/** The same with what is for a fleet and for tests. */
export interface JobOptions extends RunJobOptions {
  /** Part of a night: it runs beside others of the same job, for other guests. What is for the whole night is left to `closeNight`. */
  part?: boolean | undefined
  /** Who gave it has seen that the window is open, perhaps by a clock that is ahead: it is not waited for, and its end counts. */
  isWindowOpen?: boolean | undefined
  clock?: Clock
  start?: StartTask
}
