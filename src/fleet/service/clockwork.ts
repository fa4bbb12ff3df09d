/** Does each second what nobody asks for. */

import { asVmapipeError } from '../../core/errors.ts'
import { removeOldWorks } from '../store/works.ts'
import type { Rooms } from './agents.ts'
import type { Duty } from './duty.ts'
import { LOOK_MS } from './heartbeats.ts'
import type { Parts } from './parts.ts'

/** So often it is looked at what is due, who is silent, and what waits for a time. */
const TICK_MS = LOOK_MS
/** So often it is looked whether a guest has become late, while somebody looks. */
const LATE_MS = 60_000
const CLEAN_MS = 6 * 3600_000
const DAY_MS = 24 * 3600_000

export class Clockwork {
  readonly #stopped = new AbortController()
  readonly #turning: Promise<void>
  readonly #parts: Parts
  readonly #rooms: Rooms
  readonly #duty: Duty
  readonly #keep: number
  readonly #warn: (line: string) => void
  #looked = 0

  constructor(parts: Parts, rooms: Rooms, duty: Duty, keep: number, warn: (line: string) => void) {
    this.#parts = parts
    this.#rooms = rooms
    this.#duty = duty
    this.#keep = keep
    this.#warn = warn
    this.#turning = this.#turn()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#turning
  }

  async #turn(): Promise<void> {
    const { clock, database, changes } = this.#parts
    let cleaned = 0
    let wasAway = database.isAway
    while (!this.#stopped.signal.aborted) {
      try {
        if (this.#duty.isOn) await this.#tick()
        // That is a problem that people are told.
        if (database.isAway !== wasAway) changes.tell('now')
        wasAway = database.isAway
        if (this.#duty.isOn && !database.isAway && clock.now() - cleaned > CLEAN_MS) {
          cleaned = clock.now()
          await removeOldWorks(database, new Date(clock.now() - this.#keep * DAY_MS))
        }
      } catch (error) {
        const { message } = asVmapipeError(error)
        if (message !== 'the database is away' && message !== 'another planner has taken over')
          this.#warn(`the planner: ${message}`)
      }
      await clock.sleep(TICK_MS, this.#stopped.signal).catch(() => {})
    }
  }

  async #tick(): Promise<void> {
    const { ledger, database } = this.#parts
    const { heartbeats, due, desk, tokens, owners } = this.#rooms
    heartbeats.lookForSilence()
    owners.look()
    due.look()
    await desk.admit()
    if (!database.isAway && !ledger.isClean) await ledger.flush()
    this.#lookAtGuests()
    await heartbeats.touch()
    await tokens.writeUsed()
  }

  /** A guest becomes late by time alone. */
  #lookAtGuests(): void {
    const { changes, state, clock } = this.#parts
    const now = clock.now()
    if (!changes.areWatched || now - this.#looked < LATE_MS) return
    this.#looked = now
    const { guestRows } = this.#rooms
    guestRows.of(state, now)
    if (guestRows.haveAged) changes.tell('guests')
    guestRows.haveAged = false
  }
}
