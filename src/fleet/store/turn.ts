/**
 * The turn of a planner. Each one that takes the database over counts the turn up, and every transaction looks at it first. So a planner whose
 * connection was cut, and that has not noticed that another took over, writes nothing more.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { Database, Session } from './database.ts'

export class Turn {
  readonly #database: Database
  #turn = 0

  constructor(database: Database) {
    this.#database = database
  }

  /** Takes the turn. Returns whether another planner had it since this one last did. */
  async take(): Promise<boolean> {
    const before = this.#turn
    const [row] = await this.#database.query<{ turn: number }>(
      'update vmapipe.turns set turn = turn + 1, since = now() returning turn',
    )
    this.#turn = row.turn
    return row.turn !== before + 1
  }

  /** A transaction that writes nothing if the turn is another's. */
  async transaction<T>(body: (session: Session) => Promise<T>): Promise<T> {
    return await this.#database.transaction(async (session, [row]) => {
      if (row?.turn !== this.#turn) throw new VmapipeError('FAILED', 'another planner has taken over')
      return await body(session)
    }, 'select turn from vmapipe.turns for share')
  }
}
