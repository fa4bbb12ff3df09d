/**
 * The slots of what hosts have begun by themselves. A host is believed as far as its own jobs could run it: places of the job, for a guest of
 * the job, and no more guests than it runs at once. What else it names holds slots of nothing but the host itself.
 */

import type { RunningWork } from '../messages/beat.ts'
import type { WorkPlace } from '../planner/types.ts'
import type { Caps } from './caps.ts'
import type { Parts } from './parts.ts'
import type { HostState } from './state.ts'

/** Its inventory may come after the heartbeat that first names a new job: only then it is told to people, in milliseconds. */
const UNLIKELY_MS = 60_000

export class OwnRuns {
  readonly #parts: Parts
  readonly #caps: Caps

  constructor(parts: Parts) {
    this.#parts = parts
    this.#caps = parts.caps
  }

  /** Takes all that the host names now. `own`: by the key of its slots. True if some are free that were not. */
  take(host: HostState, own: Map<string, RunningWork>): boolean {
    const { planner, state } = this.#parts
    let isFreed = false
    for (const key of host.running.keys()) {
      if (own.has(key)) continue
      planner.free(key)
      isFreed = true
    }
    const holds = new Set<string>()
    const uses = new Map<string, WorkPlace[]>()
    const { parallel } = host.stored
    for (const [key, told] of inTurn(own, host)) {
      const { guest } = told
      const owner = guest === null ? undefined : state.guests.get(guest)?.host
      if (owner === host.name || host.holds.has(key)) holds.add(key)
      // A host that names another's guest would keep it from ever being backed up. One that has moved on in the middle counts until it ends.
      const held = owner === undefined || holds.has(key) ? guest : null
      // A job may be removed while it runs.
      const places = (holds.has(key) ? placesOf(host, told) : null) ?? host.uses.get(key)
      if (places !== undefined && uses.size < (parallel ?? 1)) uses.set(key, places)
      planner.use(key, { host: host.name, guest: held, places: uses.get(key) ?? [] })
    }
    this.#lookAtUnlikely(host, own, uses)
    host.running = own
    host.holds = holds
    host.uses = uses
    return isFreed
  }

  #lookAtUnlikely(host: HostState, own: ReadonlyMap<string, RunningWork>, uses: ReadonlyMap<string, unknown>): void {
    const now = this.#parts.clock.now()
    for (const key of host.unlikely.keys()) if (!own.has(key) || uses.has(key)) host.unlikely.delete(key)
    for (const key of own.keys()) if (!uses.has(key) && !host.unlikely.has(key)) host.unlikely.set(key, now)
    const [oldest] = host.unlikely.values()
    if (oldest === undefined || now - oldest < UNLIKELY_MS) return
    this.#caps.hit(
      host,
      'it runs what its jobs do not have, or more than it may at once: that holds no slots of others',
    )
  }

  /** The host is gone: nothing that it runs counts. */
  drop(host: HostState): void {
    for (const key of host.running.keys()) this.#parts.planner.free(key)
    for (const known of [host.running, host.holds, host.uses, host.unlikely]) known.clear()
  }
}

/** Those that have slots keep them. */
function inTurn(own: ReadonlyMap<string, RunningWork>, { uses }: HostState): [string, RunningWork][] {
  return [...own].sort(([a], [b]) => Number(uses.has(b)) - Number(uses.has(a)))
}

/** The places of the job that it names; null if it has no such job, or the guest is not in it. */
function placesOf(host: HostState, { job: name, guest, places }: RunningWork): WorkPlace[] | null {
  const job = host.jobs.get(name)
  if (job === undefined || guest === null || !host.guests.get(guest)?.jobs.includes(name)) return null
  const named = new Set(places)
  return job.places.flatMap(({ place }) => (named.has(place) ? (host.places.get(place) ?? []) : []))
}
