/** What agents say and ask. */

import type { AgentSide } from '../fleet.ts'
import type { Beat, BeatReply } from '../messages/beat.ts'
import type { AgentEvent } from '../messages/events.ts'
import type { Hello, HelloReply } from '../messages/hello.ts'
import type { CentralJob, Inventory, InventoryReply } from '../messages/inventory.ts'
import type { Work, WorkAsked } from '../messages/work.ts'
import { writeInventory } from '../store/hosts.ts'
import { askForArchives } from './archive-request.ts'
import type { CentralJobs } from './central.ts'
import type { Delivery } from './delivery.ts'
import type { Due } from './due.ts'
import type { Events } from './events.ts'
import { type Heartbeats, knownHost } from './heartbeats.ts'
import type { GuestOwners } from './owners.ts'
import type { Parts } from './parts.ts'
import type { GuestRows } from './rows.ts'
import type { HostState } from './state.ts'
import type { Tokens } from './tokens.ts'
import type { WorkDesk } from './work-desk.ts'
import { messageOf } from './work-message.ts'

/** A host that names other places again and again is asked for its archives no more often than this, in milliseconds. */
const LISTING_MS = 60_000

export interface Rooms {
  desk: WorkDesk
  delivery: Delivery
  heartbeats: Heartbeats
  owners: GuestOwners
  events: Events
  due: Due
  tokens: Tokens
  central: CentralJobs
  guestRows: GuestRows
}

export class Agents implements AgentSide {
  readonly #parts: Parts
  readonly #rooms: Rooms
  /** Throws if this planner's turn is over. */
  readonly #onDuty: () => void

  constructor(parts: Parts, rooms: Rooms, onDuty: () => void) {
    this.#parts = parts
    this.#rooms = rooms
    this.#onDuty = onDuty
  }

  async hello(host: string, said: Hello): Promise<HelloReply> {
    this.#onDuty()
    return await this.#rooms.heartbeats.hello(host, said)
  }

  async inventory(name: string, all: Inventory): Promise<InventoryReply> {
    const host = this.#host(name)
    const { state, ledger, changes, caps, clock } = this.#parts
    const said = caps.fit(host, all)
    const { owners, central, desk, due, tokens } = this.#rooms
    // A guest's last backup is in the table of guests; the rest changes rarely.
    const isNew = host.inventory === null || keptOf(host.inventory) !== keptOf(said)
    const placesBefore = host.places
    // Guests that are told again are the same objects, so that their rows stay.
    host.take(isNew ? said : { ...host.inventory!, at: said.at })
    owners.report(host, tokens.patternsOf(name))
    host.hasReported = true
    due.take(host)
    if (isNew) ledger.write((session) => writeInventory(session, name, host.inventory!))
    // Archives may have been there before the host joined, or before its jobs named their place.
    if ([...host.places.keys()].some((place) => !placesBefore.has(place))) host.hasUnlisted = true
    if (host.hasUnlisted && clock.now() - host.listingAskedAt >= LISTING_MS) {
      host.hasUnlisted = false
      host.listingAskedAt = clock.now()
      askForArchives(host, state, desk)
    }
    await ledger.flush()
    host.jobsChanged = false
    due.look()
    void desk.admit()
    if (isNew) changes.tell('hosts', 'guests', 'jobs')
    return { central: central.of(host) }
  }

  async centralJob(name: string, job: string): Promise<CentralJob | null> {
    return this.#rooms.central.one(this.#host(name), job)
  }

  async beat(name: string, said: Beat): Promise<BeatReply> {
    this.#onDuty()
    return this.#rooms.heartbeats.beat(name, said)
  }

  async work(name: string, { free, wait }: WorkAsked, signal: AbortSignal): Promise<Work[]> {
    const host = this.#host(name)
    const { clock } = this.#parts
    host.endPoll?.()
    const ended = new AbortController()
    const endPoll = () => ended.abort()
    host.endPoll = endPoll
    const either = AbortSignal.any([ended.signal, signal])
    const over = clock.sleep(wait, either).catch(() => {})
    let isOver = false
    void over.then(() => {
      isOver = true
    })
    try {
      for (;;) {
        const rung = host.bell.next()
        if (either.aborted) return []
        if (host.isUp && this.#mayFetch(host, free)) {
          const given = await this.#rooms.delivery.fetch(host, free)
          // Nobody is there to take them; or the host asks by another connection now, and this one was cut.
          if (either.aborted) {
            for (const work of given) this.#rooms.desk.giveAgain(work, 'the connection to the host broke')
            return []
          }
          if (given.length > 0) return given.map(messageOf)
        }
        if (isOver) return []
        await Promise.race([rung, over])
      }
    } finally {
      ended.abort()
      if (host.endPoll === endPoll) host.endPoll = null
    }
  }

  async events(name: string, said: AgentEvent[]): Promise<string[]> {
    return await this.#rooms.events.take(this.#host(name), said)
  }

  #mayFetch(host: HostState, free: number): boolean {
    if (free > 0) return host.sent.size > 0
    return [...host.sent].some((id) => this.#parts.state.works.get(id)?.kind !== 'run')
  }

  #host(name: string): HostState {
    this.#onDuty()
    return knownHost(this.#parts.state.hosts.get(name))
  }
}

/** What of an inventory is written anew only if it has changed. */
function keptOf({ guests, jobs, warnings }: Inventory): string {
  return JSON.stringify([guests, jobs, warnings])
}
