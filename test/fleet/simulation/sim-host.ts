/** A host of the simulation: it beats, reports, runs what it is given, and goes on by itself while it does not reach the planner. */

import type { WorkPlace } from '../../../src/fleet/planner/types.ts'
import { workId } from '../../../src/fleet/planner/work-id.ts'
import type { Run } from './checks.ts'
import { BEAT, type Ended, GONE, type PlannerSide, type Running, type SimInventory } from './planner-side.ts'

export interface SimJob {
  name: string
  /** Milliseconds between two times, and of the first one since the simulation began. */
  every: number
  first: number
  places: WorkPlace[]
  window: string | null
  has: (guest: string) => boolean
}

/** What hosts share: the truth. */
export interface World {
  readonly now: number
  readonly start: number
  /** The host that each guest is on. */
  readonly where: Map<string, string>
  readonly archives: Set<string>
  readonly side: PlannerSide | null
  after(milliseconds: number, run: () => void): () => void
  begin(run: Run): void
  end(run: Run): void
  /** How long the backup takes, and how it ends. */
  backup(guest: string): { milliseconds: number; outcome: 'done' | 'failed'; code: 'FAILED' | 'CONFIG' }
  random(): number
  /** Chance of a heartbeat to be lost. */
  readonly lost: number
}

interface Backup extends Running {
  run: Run
  cancel: () => void
}

const TIMES = 20
const REPORTS_MS = 600_000

export class SimHost {
  readonly name: string
  readonly parallel: number
  readonly zone: string
  readonly jobs: readonly SimJob[]
  readonly guests = new Set<string>()
  readonly running = new Map<string, Backup>()
  isAlive = true
  isCut = false
  incarnation = 1
  readonly #world: World
  /** Milliseconds that its clock is ahead. */
  readonly #ahead: number
  #outbox: Ended[] = []
  /** Works that it was given and how many times so far: the same delivery is taken once. */
  readonly #taken = new Set<string>()
  #heard = -Infinity
  #reported = -Infinity
  #events = 0

  constructor(
    world: World,
    name: string,
    { parallel, zone, ahead, jobs }: { parallel: number; zone: string; ahead: number; jobs: SimJob[] },
  ) {
    this.name = name
    this.parallel = parallel
    this.zone = zone
    this.jobs = jobs
    this.#world = world
    this.#ahead = ahead
    this.#heard = world.now
  }

  get #clock(): number {
    return this.#world.now + this.#ahead
  }

  get #side(): PlannerSide | null {
    return this.isAlive && !this.isCut ? this.#world.side : null
  }

  beat(): void {
    if (!this.isAlive) return
    const side = this.#side
    if (side === null || this.#world.random() < this.#world.lost) {
      this.#goOn()
      return
    }
    if (this.#world.now - this.#reported >= REPORTS_MS) this.#report(side)
    this.#heard = this.#world.now
    this.#flush(side)
    side.beat(this.name, this.incarnation, [...this.running.values()])
    for (const { run } of this.running.values()) run.isKnown = true
  }

  /** Its guests have changed: the planner is told at once if it can be. */
  report(): void {
    this.#reported = -Infinity
    const side = this.#side
    if (side !== null) this.#report(side)
  }

  give({ id, job, guest, due, places }: Running, attempt: number): void {
    const delivery = `${id} ${attempt}`
    if (this.#side === null || this.running.has(id) || this.#taken.has(delivery)) return
    this.#taken.add(delivery)
    this.#begin({ id, job, guest, due, places }, true)
  }

  die(): void {
    this.isAlive = false
    for (const { run, cancel } of this.running.values()) {
      cancel()
      this.#world.end(run)
    }
    this.running.clear()
  }

  comeBack(): void {
    this.isAlive = true
    this.incarnation++
    this.#reported = -Infinity
    this.#heard = this.#world.now
  }

  /** The guest goes to another host, also in the middle of its backup. */
  lose(guest: string): void {
    this.guests.delete(guest)
    for (const backup of [...this.running.values()])
      if (backup.guest === guest) this.#end(backup, 'failed', 'FAILED', 'the guest is gone')
  }

  /** What it does while it does not reach the planner: what was due last and has no archive yet. */
  #goOn(): void {
    if (this.#world.now - this.#heard <= GONE + BEAT) return
    for (const job of this.jobs) {
      const passed = Math.floor((this.#clock - this.#world.start - job.first) / job.every)
      if (passed < 0) continue
      const due = this.#world.start + job.first + passed * job.every
      for (const guest of this.guests) {
        if (this.running.size >= this.parallel) return
        const id = workId(job.name, guest, due)
        const isBusy = [...this.running.values()].some((backup) => backup.guest === guest)
        const isTried = this.#outbox.some((ended) => ended.id === id)
        if (!job.has(guest) || isBusy || isTried || this.#world.archives.has(id)) continue
        this.#begin({ id, job: job.name, guest, due, places: job.places }, false)
      }
    }
  }

  #report(side: PlannerSide): void {
    this.#reported = this.#world.now
    side.inventory(this.name, this.#inventory())
  }

  #inventory(): SimInventory {
    const guests = [...this.guests]
    const jobs = this.jobs.map(({ name, every, first, places, window, has }) => {
      const passed = Math.max(-1, Math.floor((this.#clock - this.#world.start - first) / every))
      const next = Array.from(
        { length: TIMES },
        (_, number) => this.#world.start + first + (passed + 1 + number) * every,
      )
      return { name, next, window, places, guests: guests.filter(has) }
    })
    return { at: this.#clock, zone: this.zone, parallel: this.parallel, guests, jobs }
  }

  #begin(work: Running, isKnown: boolean): void {
    if (this.#world.archives.has(work.id)) this.#tell(work, 'done', 'FAILED', 'it was there already')
    else if (!this.guests.has(work.guest)) this.#tell(work, 'refused', 'FAILED', 'there is no such guest')
    else this.#run(work, isKnown)
  }

  #run(work: Running, isKnown: boolean): void {
    const { milliseconds, outcome, code } = this.#world.backup(work.guest)
    const run: Run = { id: work.id, host: this.name, guest: work.guest, places: work.places, isKnown }
    const cancel = this.#world.after(milliseconds, () => this.#end(backup, outcome, code, 'the backup failed'))
    const backup: Backup = { ...work, run, cancel }
    this.running.set(work.id, backup)
    this.#world.begin(run)
  }

  #end(backup: Backup, outcome: 'done' | 'failed', code: Ended['code'], reason: string): void {
    backup.cancel()
    this.running.delete(backup.id)
    if (outcome === 'done') this.#world.archives.add(backup.id)
    this.#world.end(backup.run)
    this.#tell(backup, outcome, code, reason)
  }

  #tell({ id, job, guest, due }: Running, outcome: Ended['outcome'], code: Ended['code'], reason: string): void {
    this.#outbox.push({ event: `${this.name}-${this.#events++}`, id, job, guest, due, outcome, code, reason })
    this.#world.after(this.#world.random() * 200, () => {
      const side = this.#side
      if (side !== null && this.#reported > -Infinity) this.#flush(side)
    })
  }

  #flush(side: PlannerSide): void {
    for (const ended of this.#outbox.splice(0)) {
      side.ended(this.name, ended)
      // Its answer was lost, so it is told again.
      if (this.#world.random() < this.#world.lost) side.ended(this.name, ended)
    }
  }
}
