import type { Clock } from '../../jobs/clock.ts'

/** How a planner is started. */
export interface FleetOptions {
  /** postgres://…; PGlite in `folder` if it is not given. */
  database?: string
  /** The planner's own folder: PGlite keeps its data there. */
  folder: string
  /** Storages by name, and how many guests may be written to each at once, from all hosts. */
  storages?: Record<string, { parallel: number }>
  /** Milliseconds between two heartbeats of an agent; 5000 by default. A host that is silent for three of them counts as gone. */
  heartbeat?: number
  /** Days for which ended works are kept; 400 by default. */
  keep?: number
  clock?: Clock
  /** What is going on, for people: one line. */
  inform?: (line: string) => void
  warn?: (line: string) => void
  /** Gives up to wait: for a database that is away, or for another planner that has it. */
  signal?: AbortSignal
}
