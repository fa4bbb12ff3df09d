/** The planner of the simulation: it joins the pure parts as a service does, and what is durable outlasts its restarts. */

import { type DueJob, Dues } from '../../../src/fleet/planner/due.ts'
import { LIMBO_MS, type OwnerChange, Owners } from '../../../src/fleet/planner/owners.ts'
import { Planner } from '../../../src/fleet/planner/planner.ts'
import { retryOf } from '../../../src/fleet/planner/retries.ts'
import type { WorkPlace } from '../../../src/fleet/planner/types.ts'
import type { VirtualClock } from './clock.ts'

export const BEAT = 5000
/** A host that is silent for so long counts as gone. */
export const GONE = 3 * BEAT

export interface SimInventory {
  at: number
  zone: string
  parallel: number
  guests: string[]
  jobs: DueJob[]
}

export interface SimWork {
  id: string
  job: string
  guest: string
  due: number
  host: string
  /** `told`: it was not done, and people know why. */
  state: 'waiting' | 'given' | 'done' | 'told'
  reason: string
  attempt: number
  notBefore: number
  givenAt: number
  incarnation: number
  places: readonly WorkPlace[]
}

export interface Running {
  id: string
  job: string
  guest: string
  due: number
  places: readonly WorkPlace[]
}

export interface Ended {
  event: string
  id: string
  job: string
  guest: string
  due: number
  outcome: 'done' | 'failed' | 'refused'
  code: 'FAILED' | 'CONFIG'
  reason: string
}

export interface Durable {
  works: Map<string, SimWork>
  inventories: Map<string, SimInventory>
  owners: Map<string, string>
  lastGood: Map<string, number>
  events: Set<string>
  /** Guests that were forgotten, as no host had them for so long: since when, and until when. */
  absent: { guest: string; from: number; to: number }[]
}

interface Seen {
  isUp: boolean
  isHeard: boolean
  heard: number
  incarnation: number
  /** What the planner counts for this host. */
  uses: Set<string>
}

export interface SideOptions {
  clock: VirtualClock
  durable: Durable
  storages: ReadonlyMap<string, number>
  send: (host: string, work: SimWork, places: readonly WorkPlace[]) => void
  /** A planner with a fault, to see that it is found. */
  fault: Fault | null
}

/** What can be wrong with a planner: a limit or a guest that is not counted, what died or moved is forgotten, as is what runs when it is started. */
export type Fault = 'storage' | 'host' | 'guest' | 'lost' | 'moves' | 'restart'

export class PlannerSide {
  readonly planner: Planner
  readonly owners = new Owners()
  readonly dues: Dues
  readonly #options: SideOptions
  readonly #hosts = new Map<string, Seen>()
  /** All hosts that may be up were heard of since it started. */
  #isSettled = false
  /** Works whose guest is on its way: they are given to nobody. */
  readonly #held = new Set<string>()
  readonly #open = new Map<string, Set<SimWork>>()

  constructor(options: SideOptions) {
    const { durable, clock, storages, fault } = options
    this.#options = options
    this.planner = new Planner({ storages: fault === 'storage' ? new Map() : storages })
    this.dues = new Dues({ ownerOf: (guest) => this.owners.ownerOf(guest) })
    for (const [guest, host] of durable.owners) this.owners.restore(guest, host, guest)
    for (const [name, said] of durable.inventories) {
      this.owners.report(name, said.guests.map(identified), [], clock.now)
      this.dues.setHost(name, said.jobs, said.at)
      this.#hosts.set(name, { isUp: true, isHeard: false, heard: clock.now, incarnation: -1, uses: new Set() })
    }
    for (const work of durable.works.values()) {
      this.dues.done(work.job, work.guest, work.due)
      if (work.state === 'waiting') this.#wait(work)
      else if (work.state === 'given') {
        this.#opened(work)
        if (fault !== 'restart') this.#use(work.host, work)
      }
    }
  }

  isUp(host: string): boolean {
    const seen = this.#hosts.get(host)
    return seen?.isUp === true && seen.isHeard
  }

  isGone(host: string): boolean {
    return this.#hosts.get(host)?.isUp !== true
  }

  /** Of a host with its inventory. */
  beat(name: string, incarnation: number, running: readonly Running[]): void {
    const { clock, durable } = this.#options
    const seen = this.#hosts.get(name)!
    seen.heard = clock.now
    const named = new Set<string>()
    for (const one of running) {
      const known = durable.works.get(one.id)
      const work = known ?? this.#own(name, one)
      if (work.state === 'waiting') {
        Object.assign(work, { state: 'given', host: name, givenAt: clock.now, places: one.places })
        this.#held.delete(work.id)
      }
      work.incarnation = work.host === name ? incarnation : work.incarnation
      named.add(this.#use(name, one))
    }
    for (const key of [...seen.uses]) {
      if (named.has(key)) continue
      const work = durable.works.get(key)
      if (work?.state !== 'given' || work.host !== name) this.#free(name, key)
      else if (seen.incarnation !== incarnation && work.incarnation !== incarnation)
        this.#failed(work, name, 'lost', 'FAILED', `host ${name} was started again`)
      else if (clock.now - work.givenAt > GONE) this.#failed(work, name, 'lost', 'FAILED', 'the host does not run it')
    }
    seen.incarnation = incarnation
    if (seen.isUp && seen.isHeard) return
    seen.isUp = true
    seen.isHeard = true
    this.#tellPlanner(name)
    this.#changed(this.owners.setUp(name, true, clock.now))
    this.pump()
  }

  inventory(name: string, said: SimInventory): void {
    const { clock, durable } = this.#options
    const isNew = !this.#hosts.has(name)
    if (isNew) this.#hosts.set(name, { isUp: true, isHeard: true, heard: clock.now, incarnation: -1, uses: new Set() })
    const changes = this.owners.report(name, said.guests.map(identified), [], clock.now)
    this.dues.setHost(name, said.jobs, said.at)
    const jobs = said.jobs.map((job) => ({ ...job, next: this.dues.nextOf(name, job.name) }))
    durable.inventories.set(name, { ...said, jobs })
    this.#tellPlanner(name)
    this.#changed(changes)
    // What waits for this host may have lost its guest, or has it again.
    for (const guest of new Set([...said.guests, ...this.#guestsThatWait(name)])) this.#waitAgain(guest)
    this.pump()
  }

  ended(name: string, said: Ended): void {
    const { durable } = this.#options
    if (durable.events.has(said.event)) return
    durable.events.add(said.event)
    const work = durable.works.get(said.id) ?? this.#own(name, said)
    this.dues.done(said.job, said.guest, said.due)
    this.#free(name, this.#key(name, said.id))
    if (said.outcome === 'done') {
      durable.lastGood.set(said.guest, Math.max(said.due, durable.lastGood.get(said.guest) ?? 0))
      this.#free(work.host, work.id)
      this.planner.remove(work.id)
      this.#end(work, 'done', '')
    } else if (work.state === 'given' && work.host === name)
      this.#failed(work, name, said.outcome, said.code, said.reason)
    this.pump()
  }

  /** Once a second. */
  look(): void {
    const { clock } = this.#options
    for (const [name, seen] of this.#hosts) {
      if (!seen.isUp || clock.now - seen.heard <= GONE) continue
      seen.isUp = false
      this.#tellPlanner(name)
      const changes = this.owners.setUp(name, false, clock.now)
      for (const key of [...seen.uses]) {
        const work = this.#options.durable.works.get(key)
        if (work?.state === 'given' && work.host === name)
          this.#failed(work, name, 'lost', 'FAILED', `host ${name} is gone`)
        else this.#free(name, key)
      }
      this.#changed(changes)
    }
    this.#changed(this.owners.look(clock.now))
    for (const due of this.dues.take(clock.now)) {
      const replaced = this.#options.durable.works.get(due.replaces ?? '')
      if (replaced?.state === 'waiting') this.#end(replaced, 'told', 'its job was due again before it could begin')
      const { id, job, guest, host } = due
      const work: SimWork = {
        id,
        job,
        guest,
        due: due.due,
        host,
        state: 'waiting',
        reason: '',
        attempt: 0,
        notBefore: 0,
        givenAt: 0,
        incarnation: -1,
        places: [],
      }
      this.#options.durable.works.set(id, work)
      this.#wait(work)
    }
    this.pump()
  }

  pump(): void {
    const { clock, durable, fault } = this.#options
    // A planner that has just started does not know yet what hosts have begun by themselves.
    this.#isSettled ||= [...this.#hosts.values()].every(({ isUp, isHeard }) => isHeard || !isUp)
    if (!this.#isSettled && fault !== 'restart') return
    for (const { id, places } of this.planner.next(clock.now)) {
      const work = durable.works.get(id)!
      work.attempt++
      this.#give(work, places)
    }
  }

  #give(work: SimWork, places: readonly WorkPlace[]): void {
    const seen = this.#hosts.get(work.host)!
    Object.assign(work, { state: 'given', givenAt: this.#options.clock.now, incarnation: seen.incarnation, places })
    this.#use(work.host, { ...work, places })
    this.#options.send(work.host, work, places)
  }

  #own(host: string, { id, job, guest, due }: Pick<SimWork, 'id' | 'job' | 'guest' | 'due'>): SimWork {
    const work: SimWork = {
      id,
      job,
      guest,
      due,
      host,
      state: 'given',
      reason: '',
      attempt: 1,
      notBefore: 0,
      givenAt: this.#options.clock.now,
      incarnation: -1,
      places: [],
    }
    this.#options.durable.works.set(id, work)
    this.dues.done(job, guest, due)
    this.#opened(work)
    return work
  }

  #failed(
    work: SimWork,
    name: string,
    outcome: 'failed' | 'refused' | 'lost',
    code: Ended['code'],
    reason: string,
  ): void {
    const { clock, fault } = this.#options
    this.#free(name, work.id)
    if (fault === 'lost' && outcome === 'lost') return
    const hasMoved = this.owners.ownerOf(work.guest) !== name || this.dues.on(name, work.job, work.guest) === null
    const verdict = retryOf({ outcome, code, reason, attempt: work.attempt, hasMoved }, clock.now)
    if (!verdict.again) {
      this.#end(work, 'told', verdict.reason)
      return
    }
    work.state = 'waiting'
    work.notBefore = verdict.notBefore
    this.#wait(work)
  }

  /** It waits on the host that its guest is on, or is held while the guest is on its way. */
  #wait(work: SimWork): void {
    const { durable, fault } = this.#options
    const { id, job, guest, due, notBefore } = work
    this.#opened(work)
    const host = fault === 'moves' ? work.host : (this.owners.ownerOf(guest) ?? work.host)
    const on = this.dues.on(host, job, guest)
    work.host = host
    if (on === null) {
      this.planner.remove(id)
      this.#held.add(id)
      return
    }
    this.#held.delete(id)
    this.planner.add({ id, host, job, guest, due, notBefore, ...on, lastGood: durable.lastGood.get(guest) ?? null })
  }

  #waitAgain(guest: string): void {
    for (const work of this.#open.get(guest) ?? []) {
      if (work.state !== 'waiting') continue
      const host = this.owners.ownerOf(guest)
      const isThere = this.dues.on(host ?? '', work.job, guest) !== null
      if (host !== work.host || isThere === this.#held.has(work.id)) this.#wait(work)
    }
  }

  #changed(changes: readonly OwnerChange[]): void {
    const { durable, clock } = this.#options
    for (const { change, guest, host } of changes) {
      if (change === 'forgotten') {
        durable.owners.delete(guest)
        durable.absent.push({ guest, from: clock.now - LIMBO_MS, to: Infinity })
        for (const work of [...(this.#open.get(guest) ?? [])])
          if (work.state === 'waiting') this.#end(work, 'told', 'no host has the guest any more')
        continue
      }
      durable.owners.set(guest, host)
      if (change === 'new')
        for (const one of durable.absent) if (one.guest === guest) one.to = Math.min(one.to, clock.now)
      if (change === 'moved') this.dues.arrived(host, guest)
      this.#waitAgain(guest)
    }
  }

  #end(work: SimWork, state: 'done' | 'told', reason: string): void {
    this.planner.remove(work.id)
    this.#held.delete(work.id)
    this.#open.get(work.guest)?.delete(work)
    work.state = state
    work.reason = reason
  }

  #opened(work: SimWork): void {
    const open = this.#open.get(work.guest) ?? new Set()
    this.#open.set(work.guest, open.add(work))
  }

  #guestsThatWait(host: string): string[] {
    const guests = this.#options.durable.inventories.get(host)?.guests ?? []
    return [...guests, ...[...this.#held].map((id) => this.#options.durable.works.get(id)!.guest)]
  }

  /** A work that is given to one host and is run by another too, which was cut off, counts for both. */
  #key(host: string, id: string): string {
    return (this.#options.durable.works.get(id)?.host ?? host) === host ? id : `${host}/${id}`
  }

  #use(host: string, { id, guest, places }: Pick<Running, 'id' | 'guest' | 'places'>): string {
    const key = this.#key(host, id)
    this.#hosts.get(host)?.uses.add(key)
    this.planner.remove(id)
    this.planner.use(key, { host, guest: this.#options.fault === 'guest' ? null : guest, places })
    return key
  }

  #free(host: string, key: string): void {
    if (this.#hosts.get(host)?.uses.delete(key)) this.planner.free(key)
  }

  #tellPlanner(name: string): void {
    const { zone, parallel } = this.#options.durable.inventories.get(name)!
    const most = this.#options.fault === 'host' ? 1000 : parallel
    this.planner.setHost({ host: name, zone, parallel: most, isUp: this.isUp(name), isDrained: false })
  }
}

function identified(name: string) {
  return { name, identity: name }
}
