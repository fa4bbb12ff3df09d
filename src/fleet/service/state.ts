/** What the planner knows, in memory: hosts, guests and open works. All of it comes from the database, from agents, or from both. */

import { Bell } from '../../core/bell.ts'
import type { RunningWork } from '../messages/beat.ts'
import type { AgentGuest, AgentJob, Inventory } from '../messages/inventory.ts'
import { Dues } from '../planner/due.ts'
import { Owners } from '../planner/owners.ts'
import type { WorkPlace } from '../planner/types.ts'
import type { StoredGuest } from '../store/guests.ts'
import type { StoredHost } from '../store/hosts.ts'
import type { StoredWork } from '../store/works.ts'

/** Ended works that are remembered, so that an event that comes again is known. */
const ENDED = 10_000
/** What a host says of its clock is as old as its request. */
const MOST_LATENCY_MS = 2000

export class HostState {
  stored: StoredHost
  inventory: Inventory | null = null
  jobs = new Map<string, AgentJob>()
  guests = new Map<string, AgentGuest>()
  /** The places of its jobs, by their names. */
  places = new Map<string, WorkPlace>()
  /** It is heard of, and has beaten since this planner began: what runs there is known. */
  isUp = false
  /** It has said hello, and may beat in a moment. */
  isGreeted = false
  /** Starts of the agent before the last one, and since when they are over. */
  readonly formers = new Map<string, number>()
  /** It has said what it has since it last said hello. */
  hasReported = false
  /** When this planner began, while it waits for the host's first heartbeat: what the host has begun by itself is not known. */
  awaitedSince: number | null = null
  /** When it was last heard of, by our clock; when this planner began, if it was not heard of since. */
  seenAt: number
  skew: number | null = null
  /** The skew when those who look were last told of it. */
  toldSkew = 0
  /** Its last heartbeat's works, by the key of their slots. */
  running = new Map<string, RunningWork>()
  /** Those of `running` whose guest was this host's when they were first named. */
  holds = new Set<string>()
  /** The places that its own runs hold slots of, by the key of their slots. */
  uses = new Map<string, WorkPlace[]>()
  /** Own runs that its jobs do not explain, and since when they are named. */
  readonly unlikely = new Map<string, number>()
  /** Works in its queue that it may fetch. */
  readonly sent = new Set<string>()
  /** Rings when there is something to fetch. */
  readonly bell = new Bell()
  /** Ends the long poll that waits. A host has one; another means that the first has been cut. */
  endPoll: (() => void) | null = null
  /** Its central jobs have changed since it last asked for them. */
  jobsChanged = false
  /** Runs by the host's own schedule: the due time of each, so that its guests are of one run. */
  readonly ownRuns = new Map<string, Date>()
  /** Backups that it has brought lately (`Caps.mayRun`), as of a time. */
  readonly runs: { count: number; at: number }
  /** Bytes of its lists of archives in the database, by guest and place, and of all of them. */
  readonly lists = new Map<string, number>()
  listBytes = 0
  /** It has named a place whose archives it was not asked for yet. */
  hasUnlisted = false
  /** When it was last asked for the archives of all its places; 0 if never. */
  listingAskedAt = 0
  /** What its agent is to be told at its next heartbeat. */
  readonly notes = new Set<string>()

  constructor(stored: StoredHost, now: number) {
    this.stored = stored
    this.seenAt = now
    this.runs = { count: 0, at: now }
  }

  /** It is heard of: it has said hello, or beats. */
  get isThere(): boolean {
    return this.isUp || this.isGreeted
  }

  get name(): string {
    return this.stored.host
  }

  /** Milliseconds that its clock is behind ours; 0 if no more than requests take. */
  get behind(): number {
    return this.skew === null || this.skew > -MOST_LATENCY_MS ? 0 : -this.skew
  }

  take(inventory: Inventory): void {
    this.inventory = inventory
    this.jobs = new Map(inventory.jobs.map((job) => [job.name, job]))
    this.guests = new Map(inventory.guests.map((guest) => [guest.name, guest]))
    this.places = new Map()
    for (const { places } of inventory.jobs)
      for (const { place, storage, parallel } of places)
        if (!this.places.has(place)) this.places.set(place, { place, storage, parallel })
  }
}

export interface GuestState extends StoredGuest {
  /** Why its last backup failed; null if it did not. */
  failure: string | null
}

export interface OpenWork extends StoredWork {
  places: WorkPlace[]
  /** When it was given to its host, or the host last named it, by our clock. */
  given: number | null
  /** A heartbeat has named it since it was given: so it has arrived. */
  isNamed: boolean
  /** Hosts that had it before: one of them may still tell its end. */
  past: Set<string>
  progress: Record<string, unknown> | null
}

export class FleetState {
  readonly hosts = new Map<string, HostState>()
  readonly guests = new Map<string, GuestState>()
  readonly works = new Map<string, OpenWork>()
  /** The hosts that told the end of works. */
  readonly ended = new Map<string, string>()
  owners = new Owners()
  dues = this.#newDues()
  /** Open backups by guest: there are rarely two. */
  readonly #ofGuest = new Map<string, Set<OpenWork>>()
  readonly #ofHost = new Map<string, Set<OpenWork>>()

  addWork(work: OpenWork): void {
    this.works.set(work.id, work)
    put(this.#ofHost, work.host, work)
    if (work.guest !== null) put(this.#ofGuest, work.guest, work)
  }

  removeWork(work: OpenWork): void {
    this.works.delete(work.id)
    drop(this.#ofHost, work.host, work)
    if (work.guest !== null) drop(this.#ofGuest, work.guest, work)
  }

  rememberEnd({ id, host }: OpenWork): void {
    this.ended.set(id, host)
    if (this.ended.size > ENDED) this.ended.delete(this.ended.keys().next().value!)
  }

  moveWork(work: OpenWork, host: string): void {
    drop(this.#ofHost, work.host, work)
    work.past.add(work.host)
    work.host = host
    put(this.#ofHost, host, work)
  }

  worksOfHost(host: string): OpenWork[] {
    return [...(this.#ofHost.get(host) ?? [])]
  }

  worksOfGuest(guest: string): OpenWork[] {
    return [...(this.#ofGuest.get(guest) ?? [])]
  }

  /** A guest's jobs are those of its host. */
  #newDues(): Dues {
    return new Dues({ ownerOf: (guest) => this.guests.get(guest)?.host ?? null })
  }

  clear(): void {
    for (const host of this.hosts.values()) host.endPoll?.()
    this.owners = new Owners()
    this.dues = this.#newDues()
    for (const map of [this.hosts, this.guests, this.works, this.#ofGuest, this.#ofHost]) map.clear()
  }
}

function put<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const there = map.get(key)
  if (there === undefined) map.set(key, new Set([value]))
  else there.add(value)
}

function drop<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const there = map.get(key)
  there?.delete(value)
  if (there?.size === 0) map.delete(key)
}
