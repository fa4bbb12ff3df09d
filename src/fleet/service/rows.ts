/** What people see of hosts, guests and works. */

import type { FleetGuestRow, HostRow, WorkRow } from '../fleet.ts'
import type { AgentGuest } from '../messages/inventory.ts'
import { goodUntilOf, guestState, leastPromise } from '../planner/guest-state.ts'
import type { Planner } from '../planner/planner.ts'
import type { StoredWork } from '../store/works.ts'
import type { FleetState, GuestState, HostState, OpenWork } from './state.ts'

export function hostRow(state: FleetState, host: HostState, clockProblem: string | null): HostRow {
  const { stored, inventory, isThere } = host
  const running = state.worksOfHost(host.name).filter(({ kind, state }) => kind === 'run' && state === 'running').length
  let guests = 0
  for (const name of host.guests.keys()) if (state.guests.get(name)?.host === host.name) guests += 1
  return {
    host: stored.host,
    state: !isThere ? 'gone' : stored.drained ? 'drained' : 'up',
    version: stored.version,
    zone: stored.zone,
    labels: stored.labels,
    seen: stored.seen?.toISOString() ?? null,
    skew: host.skew === null ? null : Math.round(host.skew / 100) / 10,
    guests,
    running: running + host.running.size,
    parallel: stored.parallel,
    warnings: [
      ...(clockProblem === null ? [] : [clockProblem]),
      ...state.owners
        .refusedOf(host.name)
        .map((guest) => `its token is not for the guest '${guest}', which is not taken`),
      ...(inventory?.warnings ?? []),
    ],
  }
}

/** A host that has a token and has never come. */
export function neverRow(host: string): HostRow {
  return {
    ...{ host, state: 'never', version: null, zone: null, labels: [], seen: null, skew: null },
    ...{ guests: 0, running: 0, parallel: null, warnings: [] },
  }
}

/** What a row is made of. */
interface Seen {
  told: AgentGuest
  host: HostState
  isUp: boolean
  lastGood: number | null
  failure: string | null
  claim: string | null
  problem: string | null
  state: FleetGuestRow['state']
  promise: number | null
  /** Until then time alone changes nothing. */
  goodUntil: number
  row: FleetGuestRow
}

/** Guests that a host has, or had when it was last there. The rows of guests of which nothing has changed stay the same, and so does the list. */
export class GuestRows {
  readonly #seen = new Map<string, Seen>()
  #rows: FleetGuestRow[] = []
  /** Time alone has changed a row since somebody set this to false. */
  haveAged = false

  of(state: FleetState, now: number): FleetGuestRow[] {
    const rows: FleetGuestRow[] = []
    let isSame = true
    let host: HostState | undefined
    for (const guest of state.guests.values()) {
      // Guests of one host mostly follow each other.
      if (host?.name !== guest.host) host = state.hosts.get(guest.host)
      const told = host?.guests.get(guest.guest)
      // It was here, and no host has told of it since: it may be on its way to another.
      if (host === undefined || told === undefined) continue
      const row = this.#rowOf(state, guest, host, told, now)
      isSame &&= this.#rows[rows.length] === row
      rows.push(row)
    }
    if (this.#seen.size > rows.length) this.#keepOnly(rows)
    if (!isSame || rows.length !== this.#rows.length) this.#rows = rows
    return this.#rows
  }

  #rowOf(state: FleetState, guest: GuestState, host: HostState, told: AgentGuest, now: number): FleetGuestRow {
    const before = this.#seen.get(guest.guest)
    const isUp = host.isThere
    const { failure } = guest
    const lastGood = guest.lastGood === null ? null : guest.lastGood.getTime()
    const claim = isUp ? state.owners.problemOf(guest.guest) : null
    const isAsTold =
      before !== undefined &&
      before.told === told &&
      before.host === host &&
      before.isUp === isUp &&
      before.lastGood === lastGood &&
      before.failure === failure &&
      before.claim === claim
    if (isAsTold && now <= before.goodUntil) return before.row
    // Jobs are told together with guests.
    const promise =
      before !== undefined && before.told === told
        ? before.promise
        : leastPromise(told.jobs.flatMap((name) => host.jobs.get(name)?.promise ?? null))
    const judged = guestState({ lastGood, promise, jobs: told.jobs, host: host.name, isHostGone: !isUp }, now)
    if (isAsTold && before.state === judged.state && before.problem === judged.problem) return before.row
    this.haveAged ||= isAsTold
    const problems = [judged.problem, claim, failure && `the last backup failed: ${failure}`]
    const row: FleetGuestRow = {
      ...told,
      host: guest.host,
      promise,
      lastGood: guest.lastGood?.toISOString() ?? null,
      state: judged.state,
      problem: problems.filter(Boolean).join('; ') || null,
    }
    const goodUntil = judged.state === 'good' ? goodUntilOf(lastGood, promise) : Number.NEGATIVE_INFINITY
    this.#seen.set(guest.guest, { told, host, isUp, lastGood, failure, claim, promise, goodUntil, row, ...judged })
    return row
  }

  #keepOnly(rows: readonly FleetGuestRow[]): void {
    const names = new Set(rows.map(({ name }) => name))
    for (const name of this.#seen.keys()) if (!names.has(name)) this.#seen.delete(name)
  }
}

export function workRow(work: StoredWork & Partial<OpenWork>, planner: Planner, now: number): WorkRow {
  const isWaiting = work.state === 'waiting' || work.state === 'sent'
  const waits =
    work.state === 'waiting'
      ? planner.waitsFor(work.id, now)
      : work.state === 'sent'
        ? 'its host has not fetched it yet'
        : ''
  return {
    id: work.id,
    kind: work.kind,
    host: work.host,
    job: work.job,
    guest: work.guest,
    due: work.due.toISOString(),
    state: work.state === 'sent' ? 'waiting' : work.state,
    attempt: work.attempt,
    began: work.began?.toISOString() ?? null,
    ended: work.ended?.toISOString() ?? null,
    reason: isWaiting ? [waits, work.reason].filter(Boolean).join('; ') || null : work.reason,
    progress: work.progress ?? null,
    report: work.report,
  }
}
