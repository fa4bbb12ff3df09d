/** What a run shows and says: always on standard error, so that standard output stays pure. */

import type { Snapshot } from '../../core/meter.ts'
import type { RunStats } from '../../core/stats.ts'
import type { GuestStatus } from '../../live/guest-figures.ts'

export type Level = 'info' | 'warning'

export interface Display {
  /** How far the run is, several times a second. */
  update(snapshot: Snapshot): void
  /** How far the run is, as the user asked for it by a signal. */
  asked(snapshot: Snapshot): void
  /** What the stages did with their time up to now, several times a second. Only programs see it before the end. */
  stats(stats: RunStats): void
  /** What the stages did with their time, for people. */
  table(lines: readonly string[]): void
  /** How the guest is doing, about once a second. */
  guest(status: GuestStatus): void
  /** One line to read; `fields` say the same to programs. */
  note(level: Level, text: string, fields?: object): void
  /** The run has succeeded: lines for people, numbers for programs. */
  summary(lines: readonly string[], snapshot: Snapshot): void
  /** The command has ended, with this exit code, after all else that it said. */
  exit(code: number, seconds: number): void
  /** Nothing is redrawn any more. */
  close(): void
}
