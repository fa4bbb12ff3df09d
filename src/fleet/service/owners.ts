/** Which host a guest belongs to, made durable: what waits for a guest that has moved waits where it is now. */

import { printable } from '../../core/errors.ts'
import { type OwnerChange, Owners } from '../planner/owners.ts'
import { removeGuests } from '../store/guests.ts'
import type { Parts } from './parts.ts'
import type { GuestState, HostState } from './state.ts'
import type { WorkDesk } from './work-desk.ts'

/** Milliseconds: a clock may have been set back by so much since the backup. */
const MOST_AHEAD_MS = 60_000

export class GuestOwners {
  readonly #parts: Parts
  readonly #desk: WorkDesk

  constructor(parts: Parts, desk: WorkDesk) {
    this.#parts = parts
    this.#desk = desk
  }

  /** What an earlier planner knew. */
  restore(): void {
    const { state } = this.#parts
    state.owners = new Owners()
    for (const { guest, host, identity } of state.guests.values()) state.owners.restore(guest, host, identity)
    for (const host of state.hosts.values()) state.owners.setUp(host.name, false, this.#parts.clock.now())
  }

  /** Takes the guests of a host's new inventory. `patterns`: those that its token lets it claim; all if there are none. */
  report(host: HostState, patterns: readonly string[]): void {
    const { state, ledger, clock, problems, changes } = this.#parts
    const now = clock.now()
    changes.tell('now')
    this.#follow(state.owners.report(host.name, [...host.guests.values()], patterns, now))
    for (const told of host.guests.values()) {
      const guest = state.guests.get(told.name)
      if (guest?.host !== host.name) {
        const problem = state.owners.problemOf(told.name)
        if (guest !== undefined && problem !== null)
          problems.add(`the guest '${printable(told.name)}': ${problem}`, now)
        continue
      }
      if (told.lastGood !== null) this.remembered(host, guest, Date.parse(told.lastGood))
      if (guest.identity === told.identity) continue
      guest.identity = told.identity
      ledger.guest(guest)
    }
  }

  setUp(host: HostState): void {
    this.#follow(this.#parts.state.owners.setUp(host.name, host.isThere, this.#parts.clock.now()))
  }

  /** What only time has changed. */
  look(): void {
    this.#follow(this.#parts.state.owners.look(this.#parts.clock.now()))
  }

  forget(host: string): void {
    this.#follow(this.#parts.state.owners.forget(host, this.#parts.clock.now()))
  }

  /**
   * A good backup was made at this time by the host's clock, as the host remembers or an archive tells. Returns whether it counts: one of the
   * future does not. It is told again and again, and would make the guest look well until then.
   */
  remembered(host: HostState, guest: GuestState, time: number): boolean {
    const { clock, problems } = this.#parts
    const now = clock.now()
    if (time <= now + Math.max(0, host.skew ?? 0) + MOST_AHEAD_MS) {
      this.good(guest, new Date(Math.min(time, now)))
      return true
    }
    const what = `the newest backup of '${printable(guest.guest)}' is of the future, so it does not count`
    problems.add(`${what}: is the clock of ${host.name} right?`, now)
    return false
  }

  /** A good backup was made. */
  good(guest: GuestState, told: Date): void {
    // A host whose clock is ahead, or who lies, must not make a guest look well for years.
    const at = new Date(Math.min(told.getTime(), this.#parts.clock.now()))
    if (guest.lastGood !== null && guest.lastGood >= at) return
    guest.lastGood = at
    this.#parts.ledger.guest(guest)
  }

  #follow(changes: readonly OwnerChange[]): void {
    const { state, ledger } = this.#parts
    if (changes.length > 0) this.#parts.changes.tell('guests', 'hosts')
    for (const change of changes) {
      const guest = state.guests.get(change.guest)
      const works = state.worksOfGuest(change.guest)
      if (change.change === 'forgotten') {
        state.guests.delete(change.guest)
        ledger.write((session) => removeGuests(session, [change.guest]))
        for (const work of works)
          if (work.state !== 'running') this.#desk.end(work, 'canceled', 'no host has the guest any more')
        continue
      }
      const identity = state.hosts.get(change.host)?.guests.get(change.guest)?.identity ?? guest?.identity ?? null
      const isSame = guest !== undefined && !(change.change === 'moved' && change.isOther)
      const now: GuestState = isSame
        ? guest
        : { guest: change.guest, host: change.host, identity, lastGood: null, failure: null }
      now.host = change.host
      now.identity = identity
      state.guests.set(change.guest, now)
      ledger.guest(now)
      if (change.change !== 'moved') continue
      const to = state.hosts.get(change.host)
      for (const work of works) if (to !== undefined && work.host !== to.name) this.#desk.move(work, to)
      state.dues.arrived(change.host, change.guest)
    }
  }
}
