/**
 * Watches one stage: what it took and gave, which leases it holds, and what it does right now. The counts are always made, as they cost
 * some nanoseconds. The times are taken only if statistics were asked for.
 */

import type { Holder, Lease } from './lease.ts'

/**
 * What a stage does right now:
 *
 *   input    it waits for an item
 *   work     one of its hooks runs
 *   memory   one of its hooks runs, and waits for memory that other stages hold
 *   next     it waits until the next stage takes something
 *   ended    nothing more: it has not begun, or it is done
 */
export type Phase = 'input' | 'work' | 'memory' | 'next' | 'ended'

interface Flowing {
  readonly byteLength?: number
  readonly leases?: readonly Lease[]
}

/** Milliseconds between two moments that count as one. */
const SAME_MS = 0.2

/** When a hook last kept the processor, for the gauges of one run: nothing else went on in this process meanwhile. */
export class Processor {
  #from = 0
  #to = 0

  /** A hook worked all this time without a pause. */
  used(from: number, to: number): void {
    if (from - this.#to > SAME_MS) this.#from = from
    this.#to = to
  }

  /** How much of the time before `end` a hook that began at `begin` waited for the processor alone. */
  lateness(begin: number, end: number): number {
    return end - this.#to > SAME_MS ? 0 : Math.max(0, this.#to - Math.max(begin, this.#from))
  }
}

export class Gauge implements Holder {
  readonly name: string
  readonly index: number
  /** Null if times are not taken. */
  readonly #processor: Processor | null
  /** The stage behind this one: it holds what is given to it, even while that waits in the queue. */
  following: Gauge | null = null
  held = 0
  mostHeld = 0
  itemsIn = 0
  bytesIn = 0
  itemsOut = 0
  bytesOut = 0
  /** Milliseconds. */
  readonly times: Record<Phase, number> = { input: 0, work: 0, memory: 0, next: 0, ended: 0 }
  #hooks = 0
  #memoryWaits = 0
  #rest: Phase = 'ended'
  #phase: Phase = 'ended'
  #since = 0
  #began = 0
  /** Milliseconds for which its hooks kept the processor without a pause. */
  #computed = 0
  /** When the present phase began, and what the stages behind had computed by then. */
  #phaseBegan = 0
  #behindBefore = 0

  /** Takes the times of its phases if it has a processor. */
  constructor(name: string, index: number, processor: Processor | null) {
    this.name = name
    this.index = index
    this.#processor = processor
  }

  get phase(): Phase {
    return this.#phase
  }

  /** The stage has this item now. */
  take(item: unknown): void {
    this.itemsIn++
    this.bytesIn += (item as Flowing | null)?.byteLength ?? 0
    moveLeases(item, this)
  }

  /** The stage has given this item to the next one. */
  give(item: unknown): void {
    this.itemsOut++
    this.bytesOut += (item as Flowing | null)?.byteLength ?? 0
    if (this.following !== null) moveLeases(item, this.following)
  }

  /** A hook of the stage begins … */
  begin(): void {
    if (++this.#hooks > 1) return
    this.#turn()
    this.#began = this.#since
  }

  /** … and has ended without a pause, also by an error … */
  end(): void {
    if (--this.#hooks > 0) return
    this.#turn()
    this.#processor?.used(this.#began, this.#since)
    this.#computed += this.#since - this.#began
  }

  /** … or it has ended later. If others kept the processor until then, it was done before. */
  endLater(): void {
    if (--this.#hooks > 0) return
    const behind = this.#computedBehind() - this.#behindBefore
    this.#turn()
    if (this.#processor === null) return
    const late = Math.min(this.times.work, this.#processor.lateness(this.#began, this.#since))
    const next = Math.min(late, behind)
    this.times.work -= late
    this.times.next += next
    this.times.input += late - next
  }

  /** The stage works until this has settled, also between its hooks. */
  during(work: Promise<unknown>): void {
    this.begin()
    const end = () => this.endLater()
    work.then(end, end)
  }

  /** What the stage does between its hooks. */
  rests(phase: Phase): void {
    this.#rest = phase
    this.#turn()
  }

  waitForMemory(): void {
    if (++this.#memoryWaits === 1) this.#turn()
  }

  hasMemory(): void {
    if (--this.#memoryWaits === 0) this.#turn()
  }

  /** Begins to measure the time. */
  start(now: number): void {
    this.#since = now
  }

  /** Adds the time up to now to that of the present phase. */
  settle(): void {
    const now = performance.now()
    this.times[this.#phase] += now - this.#since
    this.#since = now
  }

  #turn(): void {
    const phase = this.#hooks === 0 ? this.#rest : this.#memoryWaits > 0 ? 'memory' : 'work'
    if (phase === this.#phase) return
    if (this.#processor !== null) {
      this.settle()
      if (this.#phase === 'input') this.#leaveInput(this.#processor)
      this.#phaseBegan = this.#since
      this.#behindBefore = this.#computedBehind()
    }
    this.#phase = phase
  }

  /** An item that came late because stages behind used the processor was waited for on their account. */
  #leaveInput(processor: Processor): void {
    const behind = this.#computedBehind() - this.#behindBefore
    const late = Math.min(this.times.input, behind, processor.lateness(this.#phaseBegan, this.#since))
    this.times.input -= late
    this.times.next += late
  }

  #computedBehind(): number {
    let sum = 0
    for (let gauge = this.following; gauge !== null; gauge = gauge.following) sum += gauge.#computed
    return sum
  }
}

/** Most items have one lease or none. */
function moveLeases(item: unknown, holder: Holder): void {
  const leases = (item as Flowing | null)?.leases
  if (leases === undefined) return
  for (let i = 0; i < leases.length; i++) leases[i].moveTo(holder)
}
