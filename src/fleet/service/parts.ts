/** What the parts of the planner share. */

import type { Clock } from '../../jobs/clock.ts'
import type { Planner } from '../planner/planner.ts'
import type { Database } from '../store/database.ts'
import type { WorkQueues } from '../store/queue.ts'
import type { Turn } from '../store/turn.ts'
import type { Caps } from './caps.ts'
import type { Changes } from './changes.ts'
import type { History } from './history.ts'
import type { Ledger } from './ledger.ts'
import type { Problems } from './problems.ts'
import type { FleetState } from './state.ts'

export interface Parts {
  database: Database
  turn: Turn
  queues: WorkQueues
  planner: Planner
  state: FleetState
  ledger: Ledger
  problems: Problems
  caps: Caps
  history: History
  changes: Changes
  clock: Clock
  /** Milliseconds between two heartbeats. */
  heartbeat: number
}

/** Heartbeats that a host may miss. */
export const SILENT_BEATS = 3
