/** Defines how a run shows its progress and messages. They go to standard error, so that standard output has only results. */

import type { Snapshot } from '../../core/meter.ts'
import type { RunStats } from '../../core/stats.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'

export type Level = 'info' | 'warning'

export interface Display {
  /** Called with the progress, several times a second. */
  update(snapshot: Snapshot): void
  /** Called with the progress if the user asks for it by a signal. */
  asked(snapshot: Snapshot): void
  /** What the stages did with their time up to now, several times a second. Only programs see it before the end. */
  stats(stats: RunStats): void
  /** What the stages did with their time, for people. */
  table(lines: readonly string[]): void
  /** Called with the state of the guest, about once a second. */
  guest(status: GuestStatus): void
  /** Shows one line. `fields` have the same for programs. */
  note(level: Level, text: string, fields?: object): void
  /** Called when the run has succeeded: lines for people, numbers for programs. */
  summary(lines: readonly string[], snapshot: Snapshot): void
  /** Called last of all, with the exit code of the command. */
  exit(code: number, seconds: number): void
  /** Ends redrawing. */
  close(): void
}
