/** The gauges of a run's stages, in order, and what they say together. */

import { Gauge, Processor } from './gauge.ts'
import type { BoundStage } from './stage.ts'

/** What a stage is in its pipeline: the first, the last, one that delays items on purpose, or one with branches. */
export type Role = 'source' | 'stage' | 'limit' | 'target' | 'split'

/** One stage of the run. */
export interface Gauged {
  readonly gauge: Gauge
  role: Role
  /** What it reads from or writes to, such as "ssh". */
  readonly medium: string | undefined
}

export class Gauges {
  readonly stages: Gauged[] = []
  readonly #processor: Processor | null
  readonly #count: number
  readonly #first: number
  readonly #prefix: string
  readonly #branches: Gauges[] = []

  /** For a run of `count` stages. Times are taken if `isTimed`. */
  constructor(count: number, isTimed: boolean)
  /** For a branch of a run. Its stages are numbered from `first` on, and `prefix` comes before their names. */
  constructor(count: number, outer: Gauges, first: number, prefix: string)
  constructor(count: number, from: boolean | Gauges, first = 0, prefix = '') {
    this.#count = count
    this.#first = first
    this.#prefix = prefix
    if (from instanceof Gauges) from.#branches.push(this)
    this.#processor = from instanceof Gauges ? from.#processor : from ? new Processor() : null
  }

  /** The stages and those of all branches, without the sources of branches, which are not the user's. */
  get all(): readonly Gauged[] {
    return [...this.stages, ...this.#branches.flatMap((branch) => branch.all.slice(1))]
  }

  /** Begins to measure the time. */
  start(now: number): void {
    for (const { gauge } of this.stages) gauge.start(now)
  }

  /** Notes that the stage has branches: it works as long as they do. */
  split(gauge: Gauge): void {
    for (const stage of this.stages) if (stage.gauge === gauge) stage.role = 'split'
  }

  /** A gauge for the next stage of the pipeline. */
  add({ definition, options }: BoundStage): Gauge {
    const index = this.stages.length
    const gauge = new Gauge(this.#prefix + definition.name, this.#first + index, this.#processor)
    const last = this.stages.at(-1)?.gauge
    if (last !== undefined) last.following = gauge
    const role = index === 0 ? 'source' : index === this.#count - 1 ? 'target' : definition.paces ? 'limit' : 'stage'
    const medium = definition.medium?.(options as never)
    this.stages.push({ gauge, role, medium })
    return gauge
  }

  /** A number that grows as long as any item moves. */
  get moves(): number {
    return this.all.reduce((sum, { gauge }) => sum + gauge.itemsIn + gauge.itemsOut, 0)
  }
}
