/**
 * Nights of a fleet in virtual time: hosts die and return, guests move in the middle of a backup, clocks are apart, the planner is started again,
 * heartbeats are lost and works are delivered twice. What must hold is checked at every step.
 */

import type { WorkPlace } from '../../src/fleet/planner/types.ts'
import { seeded } from '../support/random.ts'
import { Checks, keysOf, type Run } from './simulation/checks.ts'
import { VirtualClock } from './simulation/clock.ts'
import { BEAT, type Durable, type Fault, PlannerSide, type SimWork } from './simulation/planner-side.ts'
import { SimHost, type SimJob, type World } from './simulation/sim-host.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Noon. */
const START = Date.parse('2026-03-26T12:00:00Z')
/** Nights begin nine hours later. */
const NIGHT = 9 * HOUR

export interface SimulationOptions {
  seed: number
  hosts: number
  guests: number
  nights: number
  /** Streams of each storage; there are two. */
  streams: number
  /** Nothing is cut off and no planner is away, so limits hold at every moment. */
  isCalm?: boolean
  /** Nothing goes wrong at all. */
  isFine?: boolean
  fault?: Fault | null
  /** Minutes of the longest backup; the shortest is a tenth of it. */
  longest?: number
}

export interface SimulationResult {
  violations: string[]
  /** Works by what became of them. */
  works: Record<SimWork['state'], number>
  archives: number
  deaths: number
  moves: number
  movesDuringBackup: number
  restarts: number
  again: number
  /** Hours of virtual time, and those of them from the first backup to the last. */
  hours: number
  busyHours: number
  /** Of each work that had to wait: milliseconds of virtual time from the moment at which all of its limits had room until its backup began. */
  dispatch: number[]
  /** Lanes that the planner looked at. */
  steps: number
}

export function simulate(options: SimulationOptions): SimulationResult {
  return new Simulation(options).run()
}

class Simulation implements World {
  readonly start = START
  readonly where = new Map<string, string>()
  readonly archives = new Set<string>()
  readonly lost: number
  readonly random: () => number
  side: PlannerSide | null = null
  readonly #options: SimulationOptions
  readonly #clock = new VirtualClock(START)
  readonly #hosts = new Map<string, SimHost>()
  readonly #storages: ReadonlyMap<string, number>
  readonly #checks: Checks
  readonly #durable: Durable = {
    works: new Map(),
    inventories: new Map(),
    owners: new Map(),
    lastGood: new Map(),
    events: new Set(),
    absent: [],
  }
  readonly #sent = new Map<string, Run>()
  readonly #dispatch: number[] = []
  /** When each limit was full for the last time. */
  readonly #wasFull = new Map<string, number>()
  readonly #count = { deaths: 0, moves: 0, movesDuringBackup: 0, restarts: 0, again: 0, steps: 0 }
  #isQuiet = false
  #firstBegin = Infinity
  #lastEnd = -Infinity

  constructor(options: SimulationOptions) {
    this.#options = options
    this.random = seeded(options.seed)
    this.lost = options.isCalm || options.isFine ? 0 : 0.03
    this.#storages = new Map(['nas1', 'nas2'].map((name) => [name, options.streams]))
    const limits = new Map([...this.#storages].map(([name, most]) => [`storage ${name}`, most]))
    for (let number = 0; number < options.hosts; number++) {
      const host = this.#makeHost(number)
      this.#hosts.set(host.name, host)
      limits.set(`host ${host.name}`, host.parallel)
    }
    this.#checks = new Checks(limits)
    const names = [...this.#hosts.keys()]
    for (let number = 0; number < options.guests; number++) {
      const name = names[number % names.length]
      this.where.set(`guest-${number}`, name)
      this.#hosts.get(name)!.guests.add(`guest-${number}`)
    }
  }

  get now(): number {
    return this.#clock.now
  }

  after(milliseconds: number, run: () => void): () => void {
    return this.#clock.after(milliseconds, run)
  }

  begin(run: Run): void {
    this.#firstBegin = Math.min(this.#firstBegin, this.now)
    this.#checks.begin(run)
    if (this.#options.isCalm || this.#options.isFine) this.#checks.within(`${run.id} has begun on ${run.host}`)
    const free = Math.max(...keysOf(run).map((key) => this.#wasFull.get(key) ?? 0))
    if (free > (this.#durable.works.get(run.id)?.due ?? Infinity)) this.#dispatch.push(this.now - free)
  }

  end(run: Run): void {
    this.#lastEnd = this.now
    for (const key of keysOf(run)) if (this.#checks.isFull(key)) this.#wasFull.set(key, this.now)
    this.#checks.end(run)
  }

  backup(guest: string): ReturnType<World['backup']> {
    const number = Number(guest.slice('guest-'.length))
    const longest = (this.#options.longest ?? 20) * MINUTE
    const milliseconds = longest * (0.1 + 0.9 * ((number * 7919) % 100) * 0.01) * (0.8 + 0.2 * this.random())
    // Some guests never succeed, and some fail now and then.
    if (!this.#options.isFine && number % 97 === 13) return { milliseconds: 2000, outcome: 'failed', code: 'CONFIG' }
    const fails = !this.#options.isFine && !this.#isQuiet && this.random() < 0.04
    return { milliseconds: fails ? milliseconds / 2 : milliseconds, outcome: fails ? 'failed' : 'done', code: 'FAILED' }
  }

  run(): SimulationResult {
    const { nights, isCalm = false, isFine = false } = this.#options
    this.#startPlanner()
    for (const host of this.#hosts.values()) this.#clock.every(BEAT, this.random() * BEAT, () => host.beat())
    this.#clock.every(1000, 1000, () => this.side?.look())
    if (!isFine) this.#trouble(isCalm)
    this.#clock.goOn(START + nights * DAY)
    this.#isQuiet = true
    for (const host of this.#hosts.values()) {
      host.isCut = false
      if (!host.isAlive) host.comeBack()
    }
    if (this.side === null) this.#startPlanner()
    this.#clock.goOn(this.now + DAY - 4 * HOUR)
    this.#checkEnd()
    this.#countSteps()
    const works = { waiting: 0, given: 0, done: 0, told: 0 }
    for (const { state } of this.#durable.works.values()) works[state]++
    const hours = (this.now - START) / HOUR
    const busyHours = (this.#lastEnd - this.#firstBegin) / HOUR
    const { violations } = this.#checks
    return {
      violations,
      works,
      archives: this.archives.size,
      ...this.#count,
      hours,
      busyHours,
      dispatch: this.#dispatch,
    }
  }

  /** Every guest of every night has an archive or was told as not backed up, and nothing is left. */
  #checkEnd(): void {
    const told = new Set<string>()
    const seen = new Set<string>()
    for (const work of this.#durable.works.values()) {
      const night = `${work.guest} ${this.#nightOf(work.due)}`
      if (work.state === 'waiting' || work.state === 'given')
        this.#checks.wrong(`work ${work.id} of ${work.guest} is ${work.state} in the end`)
      if (work.state === 'done' && !this.archives.has(work.id)) this.#checks.wrong(`work ${work.id} has no archive`)
      if (work.state === 'told') told.add(night)
      else if (work.job === 'nightly' && work.state === 'done') seen.add(night)
    }
    // People see that no host has such a guest, for an hour; then it is none of the fleet's.
    for (const { guest, from, to } of this.#durable.absent)
      for (let night = 0; night <= this.#options.nights; night++) {
        const begin = START + night * DAY + NIGHT - 10 * MINUTE
        if (from < begin + HOUR && to > begin) told.add(`${guest} ${night}`)
      }
    for (const guest of this.where.keys())
      for (let night = 0; night <= this.#options.nights; night++) {
        const key = `${guest} ${night}`
        if (!seen.has(key) && !told.has(key))
          this.#checks.wrong(`${guest} was neither backed up in night ${night} nor told`)
      }
  }

  #nightOf(due: number): number {
    return Math.floor((due - START) / DAY)
  }

  #startPlanner(): void {
    this.side = new PlannerSide({
      clock: this.#clock,
      durable: this.#durable,
      storages: this.#storages,
      fault: this.#options.fault ?? null,
      send: (host, work, places) => this.#send(host, work, places),
    })
  }

  #countSteps(): void {
    this.#count.steps += this.side?.planner.steps ?? 0
  }

  #send(name: string, { id, job, guest, due, attempt }: SimWork, places: readonly WorkPlace[]): void {
    const host = this.#hosts.get(name)!
    this.#checks.given(id, name, places, (other) => !this.side!.isGone(other), this.#sent.values())
    const sent: Run = { id, host: name, guest, places, isKnown: true }
    this.#sent.set(id, sent)
    const give = () => host.give({ id, job, guest, due, places }, attempt)
    this.after(this.random() * 200, () => {
      if (this.#sent.get(id) === sent) this.#sent.delete(id)
      give()
    })
    if (this.#options.isFine || this.random() >= 0.03) return
    this.#count.again++
    this.after(this.random() * 10_000, () => {
      if (this.#durable.works.get(id)?.state === 'given' && this.#durable.works.get(id)?.host === name) give()
    })
  }

  #makeHost(number: number): SimHost {
    const zone = ['Europe/Berlin', 'America/New_York', 'Asia/Kathmandu'][number % 3]
    const nas = (name: string): WorkPlace => ({ place: `/mnt/${name}`, storage: name, parallel: null })
    const nightly: SimJob = {
      name: 'nightly',
      every: DAY,
      first: NIGHT + (number % 7) * 5 * MINUTE,
      // Some need a stream of both.
      places:
        number % 5 === 0 && !this.#options.isFine
          ? [nas('nas1'), nas('nas2')]
          : [nas(number % 2 === 0 ? 'nas1' : 'nas2')],
      window: zone === 'Europe/Berlin' && number % 2 === 0 ? '21:00-12:00' : null,
      has: () => true,
    }
    const often: SimJob = {
      name: 'often',
      every: 6 * HOUR,
      first: 3 * HOUR,
      places: [nas('nas2')],
      window: null,
      has: (guest) => Number(guest.slice('guest-'.length)) % 10 === 3,
    }
    const jobs = this.#options.isFine ? [nightly] : [nightly, often]
    // The clocks of two hosts are up to ten minutes apart.
    const ahead = this.#options.isFine ? 0 : ((number * 37) % 11) * MINUTE - 5 * MINUTE
    return new SimHost(this, `host-${number}`, { parallel: 2, zone, ahead, jobs })
  }

  #trouble(isCalm: boolean): void {
    const hosts = [...this.#hosts.values()]
    const any = <T>(all: readonly T[]): T => all[Math.floor(this.random() * all.length)]
    this.#often(40 * MINUTE, () => {
      const host = any(hosts)
      if (!host.isAlive) return
      this.#count.deaths++
      host.die()
      // What runs elsewhere when it is back.
      if (this.random() < 0.5) this.after(90_000, () => this.#evacuate(host))
      this.after((2 + this.random() * 180) * MINUTE, () => {
        if (!host.isAlive) host.comeBack()
      })
    })
    this.#often(8 * MINUTE, () => {
      const running = [...this.#checks.running]
      const guest = running.length > 0 && this.random() < 0.7 ? any(running).guest : any([...this.where.keys()])
      const to = any(hosts)
      if (to.isAlive) this.#move(guest, to)
    })
    if (isCalm) return
    this.#often(90 * MINUTE, () => {
      const host = any(hosts)
      host.isCut = true
      this.after((0.2 + this.random() * 60) * MINUTE, () => {
        host.isCut = false
      })
    })
    this.#often(4 * HOUR, () => {
      if (this.side === null) return
      this.#countSteps()
      this.#count.restarts++
      this.side = null
      this.after((0.1 + this.random() * 20) * MINUTE, () => {
        if (this.side === null) this.#startPlanner()
      })
    })
  }

  /** Now and then, until all is quiet. */
  #often(mean: number, run: () => void): void {
    const again = () => {
      if (this.#isQuiet) return
      run()
      this.after(mean * (0.2 + 1.6 * this.random()), again)
    }
    this.after(mean * this.random(), again)
  }

  #evacuate(host: SimHost): void {
    if (host.isAlive) return
    const others = [...this.#hosts.values()].filter(({ isAlive }) => isAlive)
    if (others.length === 0) return
    for (const guest of [...host.guests])
      if (this.random() < 0.5) this.#move(guest, others[Math.floor(this.random() * others.length)])
  }

  #move(guest: string, to: SimHost): void {
    const from = this.#hosts.get(this.where.get(guest)!)!
    if (from === to) return
    this.#count.moves++
    if ([...this.#checks.running].some((run) => run.guest === guest)) this.#count.movesDuringBackup++
    from.lose(guest)
    to.guests.add(guest)
    this.where.set(guest, to.name)
    // Each of them notices it in its own time.
    for (const host of [from, to]) this.after(this.random() * 30_000, () => host.report())
  }
}
