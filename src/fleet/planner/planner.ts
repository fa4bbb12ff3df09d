/**
 * Decides which of the works that wait begin now. It only computes: times are passed in, and what is durable is others' matter. What it does at
 * a time depends on what has changed, not on how many works wait: a lane of works is parked at the limit that it waits for.
 */

import { Heap } from './heap.ts'
import { KeptSlots } from './kept-slots.ts'
import { byFirst, hasRoom, Lane, type Limit, type Waiting } from './lane.ts'
import { isSameHost, isSameUse, neededLimits, sharedKeys, usedKeys } from './limit-keys.ts'
import { Limits } from './limits.ts'
import type { InUse, PlannedHost, PlannedWork, WorkPlace } from './types.ts'
import { guestText, hostText, keptText, laterText, limitText, unheardText, windowText } from './waits-for.ts'
import { Windows } from './windows.ts'

export interface PlannerOptions {
  /** How many guests may be written to each storage at once. One that is not named has no limit. */
  storages: ReadonlyMap<string, number>
  /** Times that a work finds one of its limits full while another has room, before slots are kept for it. */
  patience?: number
}

interface HostLanes {
  host: PlannedHost | null
  lanes: Map<string, Lane>
}

export class Planner {
  #storages: ReadonlyMap<string, number>
  readonly #windows = new Windows()
  readonly #limits = new Limits()
  readonly #kept: KeptSlots
  readonly #hosts = new Map<string, HostLanes>()
  readonly #waiting = new Map<string, Waiting>()
  readonly #ofGuest = new Map<string, Set<Waiting>>()
  readonly #inUse = new Map<string, { used: InUse; keys: string[] }>()
  /** The uses of each guest. */
  readonly #busy = new Map<string, Set<InUse>>()
  /** Works that are not to begin yet. */
  readonly #later = new Heap<Waiting>((a, b) => a.work.notBefore - b.work.notBefore)
  /** Lanes whose window is closed. */
  readonly #closed = new Heap<Lane>((a, b) => a.opens - b.opens)
  /** Lanes that are to be looked at. */
  readonly #ready = new Heap<Lane>(byFirst)
  #now = -Infinity
  #steps = 0

  constructor({ storages, patience }: PlannerOptions) {
    this.#storages = storages
    this.#kept = new KeptSlots(this.#limits, patience)
  }

  /** Lanes that were looked at so far: what its work is measured by. */
  get steps(): number {
    return this.#steps
  }

  get waiting(): number {
    return this.#waiting.size
  }

  setStorages(storages: ReadonlyMap<string, number>): void {
    this.#storages = storages
    for (const host of [...this.#hosts.values()]) this.#newLanes(host)
  }

  setHost(host: PlannedHost): void {
    const known = this.#host(host.host)
    const before = known.host
    known.host = { ...host }
    if (before !== null && isSameHost(before, host)) return
    if (before?.parallel !== host.parallel) this.#newLanes(known)
    for (const lane of known.lanes.values()) this.#wake(lane)
  }

  /** What waits for it waits until there is such a host again. */
  removeHost(host: string): void {
    const known = this.#hosts.get(host)
    if (known === undefined) return
    known.host = null
    for (const lane of known.lanes.values()) this.#wake(lane)
    this.#dropHost(host, known)
  }

  /** It may run what nobody knows of, at these places. What shares a limit with them does not begin before `heard`. */
  notHeard(host: string, places: readonly WorkPlace[]): void {
    this.#limits.hold(host, sharedKeys(places))
  }

  /** It has said what it runs, or is gone. */
  heard(host: string): void {
    this.#limits.release(host)
  }

  /** Waits. It replaces one of the same id. One that is in use is not added: it has begun. */
  add(work: PlannedWork): void {
    this.remove(work.id)
    if (this.#inUse.has(work.id)) return
    const lane = this.#laneOf(work)
    const waiting: Waiting = { work, lane, home: null, at: -1 }
    lane.all.add(waiting)
    this.#waiting.set(work.id, waiting)
    const same = this.#ofGuest.get(work.guest) ?? new Set()
    this.#ofGuest.set(work.guest, same.add(waiting))
    this.#place(waiting)
  }

  remove(id: string): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#unplace(waiting)
    this.#waiting.delete(id)
    const same = this.#ofGuest.get(waiting.work.guest)!
    same.delete(waiting)
    if (same.size === 0) this.#ofGuest.delete(waiting.work.guest)
    waiting.lane.all.delete(waiting)
    if (waiting.lane.all.size === 0) this.#dropLane(waiting.lane)
  }

  /** Given to a host, or said by its heartbeat to run, also if the host began it by itself. It does not wait any more. */
  use(id: string, inUse: InUse): void {
    this.remove(id)
    const known = this.#inUse.get(id)
    if (known !== undefined) {
      if (isSameUse(known.used, inUse)) return
      this.free(id)
    }
    const used = { host: inUse.host, guest: inUse.guest, places: inUse.places }
    const keys = usedKeys(used)
    for (const key of keys) this.#limits.use(key)
    this.#inUse.set(id, { used, keys })
    if (used.guest === null) return
    const busy = this.#busy.get(used.guest) ?? new Set()
    this.#busy.set(used.guest, busy.add(used))
    if (busy.size === 1) for (const waiting of this.#ofGuest.get(used.guest) ?? []) this.#unplace(waiting)
  }

  free(id: string): void {
    const known = this.#inUse.get(id)
    if (known === undefined) return
    this.#inUse.delete(id)
    for (const key of known.keys) this.#limits.free(key)
    const { guest } = known.used
    if (guest === null) return
    const busy = this.#busy.get(guest)!
    busy.delete(known.used)
    if (busy.size > 0) return
    this.#busy.delete(guest)
    for (const waiting of this.#ofGuest.get(guest) ?? []) this.#place(waiting)
  }

  /** What begins now; from here on it is in use. The oldest last good backup first, and before them those that have none. */
  next(now: number): PlannedWork[] {
    const begun: PlannedWork[] = []
    this.#turn(now)
    for (let lane = this.#nextReady(); lane !== undefined; lane = this.#nextReady()) {
      this.#steps++
      const { from } = lane
      const work = this.#begin(lane, now)
      if (work !== null) begun.push(work)
      if (from === null) continue
      from.isProbed = false
      this.#probe(from)
    }
    return begun
  }

  /** When time alone may let something begin; null if only a change can. */
  get nextAt(): number | null {
    const at = Math.min(this.#later.first?.work.notBefore ?? Infinity, this.#closed.first?.opens ?? Infinity)
    return at === Infinity ? null : at
  }

  /** What a waiting work waits for, in one line for people; empty if it begins now, or does not wait. */
  waitsFor(id: string, now: number): string {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return ''
    const { work, lane } = waiting
    const host = this.#hosts.get(work.host)?.host ?? null
    if (host === null || !host.isUp || host.isDrained) return hostText(work.host, host)
    const [busy] = this.#busy.get(work.guest) ?? []
    if (busy !== undefined) return guestText(busy)
    if (work.notBefore > now) return laterText(work)
    const opens = this.#windows.opens(work.window, host.zone, now)
    if (opens !== null) return windowText(work.window!, host, opens)
    const full = lane.limits.find((limit) => !hasRoom(limit, lane))
    if (full === undefined) return ''
    const { usage, most } = full
    const [unheard] = usage.unheard
    if (unheard !== undefined) return unheardText(unheard)
    return usage.count >= most ? limitText(full) : keptText(full, usage.keeper!.first)
  }

  /** Lets go what time has let go, and keeps no slot for those whose window has closed. */
  #turn(now: number): void {
    this.#now = now
    for (let first = this.#later.first; first !== undefined && first.work.notBefore <= now; first = this.#later.first) {
      this.#unplace(first)
      this.#place(first)
    }
    for (let lane = this.#closed.first; lane !== undefined && lane.opens <= now; lane = this.#closed.first)
      this.#wake(lane)
    for (const lane of [...this.#kept.keepers]) if (!this.#isOpen(lane, now)) this.#wake(lane)
  }

  /** The first lane to be looked at. What has begun may have opened a limit, and a lane that waits for it may come before the others. */
  #nextReady(): Lane | undefined {
    for (const limit of this.#limits.opened) this.#probe(limit)
    this.#limits.opened.clear()
    return this.#ready.first
  }

  /** The lane that is first of those that wait for the limit is to be looked at, if it has room. */
  #probe(limit: Limit): void {
    if (limit.isProbed) return
    const { keeper } = limit.usage
    const lane = keeper?.home === limit.parked ? keeper : limit.parked.first
    if (lane === undefined || !hasRoom(limit, lane)) return
    lane.moveTo(this.#ready)
    lane.from = limit
    limit.isProbed = true
  }

  /** Begins the first work of the lane, or parks the lane. */
  #begin(lane: Lane, now: number): PlannedWork | null {
    const { from } = lane
    const { host } = this.#hosts.get(lane.host)!
    lane.from = null
    if (host === null || !host.isUp || host.isDrained) {
      this.#kept.release(lane)
      lane.moveTo(null)
      return null
    }
    const opens = this.#windows.opens(lane.window, host.zone, now)
    if (opens !== null) {
      this.#kept.release(lane)
      lane.moveTo(null)
      lane.opens = opens
      lane.moveTo(this.#closed)
      return null
    }
    const full = lane.limits.find((limit) => !hasRoom(limit, lane))
    if (full === undefined) {
      const work = lane.first
      this.#kept.release(lane)
      this.use(work.id, work)
      return work
    }
    lane.moveTo(full.parked)
    if (from !== null && from !== full) this.#kept.missed(lane)
    return null
  }

  #isOpen(lane: Lane, now: number): boolean {
    return this.#windows.opens(lane.window, this.#hosts.get(lane.host)?.host?.zone ?? 'UTC', now) === null
  }

  #wake(lane: Lane): void {
    if (lane.home === this.#ready || lane.works.size === 0) return
    lane.moveTo(this.#ready)
  }

  /** Puts a work where it waits. */
  #place(waiting: Waiting): void {
    const { work, lane } = waiting
    if (this.#busy.has(work.guest)) return
    waiting.home = work.notBefore > this.#now ? this.#later : lane.works
    waiting.home.push(waiting)
    if (waiting.home === this.#later) return
    if (lane.works.size === 1) lane.moveTo(this.#ready)
    else lane.reorder()
  }

  #unplace(waiting: Waiting): void {
    const { home, lane } = waiting
    if (home === null) return
    waiting.home = null
    home.remove(waiting)
    if (home !== lane.works) return
    if (lane.works.size > 0) lane.reorder()
    else this.#leaveQueue(lane)
  }

  /** A lane without works that could begin waits nowhere. */
  #leaveQueue(lane: Lane): void {
    const { from } = lane
    lane.moveTo(null)
    lane.from = null
    this.#kept.release(lane)
    if (from === null) return
    from.isProbed = false
    this.#limits.open(from.usage)
  }

  #laneOf(work: PlannedWork): Lane {
    const lanes = this.#host(work.host)
    const wanted = neededLimits(work, lanes.host, this.#storages)
    const key = JSON.stringify([work.window, wanted])
    const known = lanes.lanes.get(key)
    if (known !== undefined) return known
    const limits = wanted.map((needed) => this.#limits.take(needed))
    const lane = new Lane(key, work.host, work.window, limits)
    lanes.lanes.set(key, lane)
    return lane
  }

  /** The host runs more or fewer at once than before, so its lanes are others. */
  #newLanes({ lanes }: HostLanes): void {
    for (const lane of [...lanes.values()]) for (const { work } of [...lane.all]) this.add(work)
  }

  #dropLane(lane: Lane): void {
    this.#leaveQueue(lane)
    for (const limit of lane.limits) this.#limits.leave(limit)
    const host = this.#hosts.get(lane.host)!
    host.lanes.delete(lane.key)
    this.#dropHost(lane.host, host)
  }

  #host(host: string): HostLanes {
    const known = this.#hosts.get(host) ?? { host: null, lanes: new Map() }
    this.#hosts.set(host, known)
    return known
  }

  #dropHost(host: string, { host: known, lanes }: HostLanes): void {
    if (known === null && lanes.size === 0) this.#hosts.delete(host)
  }
}
