/**
 * What one host may bring into the planner's memory and database, so that a broken or hostile one hurts no other. What is more is left out;
 * people and the host's own log are told so in one line. A host with 2,000 guests, each of them in 50 jobs, meets none of this.
 */

import type { Clock } from '../../jobs/clock.ts'
import type { EndedEvent } from '../messages/events.ts'
import type { Inventory } from '../messages/inventory.ts'
import type { Problems } from './problems.ts'
import type { FleetState, HostState } from './state.ts'

export const MOST = {
  guests: 10_000,
  /** Guests of all jobs together: one that is in three jobs counts three times. */
  inJobs: 200_000,
  places: 5_000,
  /** Backups in a day: those that its schedules make, and those that it tells of. */
  runs: 200_000,
  /** Bytes of the report of one backup. One of a guest with a dozen places has two thousand. */
  report: 16 << 10,
  /** Lists of archives: one for each guest at each place; and the bytes of all of them. */
  lists: 50_000,
  listBytes: 2 ** 32,
  /** Works that somebody asked for, are no backups, and have not ended. */
  asked: 1_000,
}

const HOUR_MS = 3600_000
const DAY_MS = 24 * HOUR_MS

interface Needed {
  state: FleetState
  problems: Problems
  clock: Clock
}

export class Caps {
  readonly #parts: Needed

  constructor(parts: Needed) {
    this.#parts = parts
  }

  /** Something was left out, and why. */
  hit(host: HostState, text: string): void {
    this.#parts.problems.add(`${host.name}: ${text}`, this.#parts.clock.now())
    host.notes.add(text)
  }

  /** The part of an inventory that is taken. */
  fit(host: HostState, said: Inventory): Inventory {
    return { ...said, guests: this.#guests(host, said.guests), jobs: this.#jobs(host, said.jobs) }
  }

  /** Guests that it reported an hour ago count too: otherwise it could report others each second. */
  #guests(host: HostState, said: Inventory['guests']): Inventory['guests'] {
    const { guests: known } = this.#parts.state
    let owned = 0
    for (const guest of known.values()) if (guest.host === host.name) owned++
    const taken = said.slice(0, MOST.guests).filter(({ name }) => known.has(name) || ++owned <= MOST.guests)
    if (taken.length < said.length) this.hit(host, `it has more than ${MOST.guests} guests: the others are left out`)
    return taken
  }

  #jobs(host: HostState, said: Inventory['jobs']): Inventory['jobs'] {
    let inJobs = MOST.inJobs
    const places = new Set<string>()
    let isCut = false
    const taken = said.map((job) => {
      const guests = job.guests.slice(0, inJobs)
      inJobs -= guests.length
      const kept = job.places.filter(({ place }) => places.has(place) || places.size < MOST.places)
      for (const { place } of kept) places.add(place)
      if (guests.length === job.guests.length && kept.length === job.places.length) return job
      isCut = true
      // A guest that is not backed up at all its places would look well.
      return { ...job, guests: kept.length === job.places.length ? guests : [], places: kept }
    })
    if (isCut)
      this.hit(
        host,
        `its jobs have more than ${MOST.inJobs} guests or ${MOST.places} places together: the others are left out`,
      )
    return taken
  }

  /** An earlier planner has written these down: as many so many hours ago, the oldest first. They count as if this one had. */
  hasRun(host: HostState, { hoursAgo, count }: { hoursAgo: number; count: number }): void {
    const { runs } = host
    const now = this.#parts.clock.now()
    if (runs.count === 0) runs.at = now - DAY_MS
    letGo(runs, now - hoursAgo * HOUR_MS)
    runs.count += count
  }

  /** Whether one more backup of the host may be made, or written down. It counts then. */
  mayRun(host: HostState): boolean {
    const { runs } = host
    letGo(runs, this.#parts.clock.now())
    if (runs.count > MOST.runs - 1) {
      this.hit(host, `more than ${MOST.runs} backups in a day: the others are neither made nor written down`)
      return false
    }
    runs.count++
    return true
  }

  /** The report of a backup; of one that is too long as many of its entries as fit. */
  reportOf(host: HostState, { report }: EndedEvent): EndedEvent['report'] {
    let left = MOST.report - Buffer.byteLength(JSON.stringify(report))
    if (left >= 0) return report
    this.hit(host, `the report of a backup has more than ${MOST.report >> 10} KiB, and was shortened`)
    left = MOST.report
    return Object.fromEntries(
      Object.entries(report).filter((entry) => {
        const bytes = Buffer.byteLength(JSON.stringify(entry))
        if (bytes > left) return false
        left -= bytes
        return true
      }),
    )
  }

  /** Whether its list of archives of this guest at this place may be kept, in the place of the one before. */
  mayList(host: HostState, place: string, guest: string | null, bytes: number): boolean {
    const key = listKey(place, guest)
    const before = host.lists.get(key)
    const all = host.listBytes - (before ?? 0) + bytes
    if (bytes > 0 && (all > MOST.listBytes || (before === undefined && host.lists.size >= MOST.lists))) {
      const most = `${MOST.lists} lists of archives or ${MOST.listBytes / 2 ** 30} GiB of them`
      this.hit(host, `more than ${most}: the others are left out`)
      return false
    }
    host.listBytes = all
    if (bytes > 0) host.lists.set(key, bytes)
    else host.lists.delete(key)
    return true
  }
}

/** A host may bring as many again as it has brought, in a day, bit by bit. */
function letGo(runs: HostState['runs'], now: number): void {
  runs.count = Math.max(0, runs.count - ((now - runs.at) / DAY_MS) * MOST.runs)
  runs.at = now
}

export function listKey(place: string, guest: string | null): string {
  return `${place}\0${guest ?? ''}`
}
