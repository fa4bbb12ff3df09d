/** The gauges of a run's stages, in order, and what they say together. Fused steps have one gauge each and one for all of them. */

import { Gauge, type Phase, Processor } from './gauge.ts'
import type { BoundStage } from './stage.ts'

/** What a stage is in its pipeline: the first, the last, or one that delays items on purpose. */
export type Role = 'source' | 'stage' | 'limit' | 'target'

/** One stage of the run. */
export interface Gauged {
  readonly gauge: Gauge
  readonly role: Role
  /** What it reads from or writes to, such as "ssh". */
  readonly medium: string | undefined
  /** The gauge of the stream that its step runs in, and the gauges of all steps in it. A stage that is no step has none. */
  group: { readonly whole: Gauge; readonly steps: readonly Gauge[] } | null
}

export class Gauges {
  readonly stages: Gauged[] = []
  readonly #processor: Processor | null
  readonly #count: number
  readonly #first: number

  /** For a run of `count` stages, which are numbered from `first` on. Times are taken if `isTimed`. */
  constructor(count: number, isTimed: boolean, first = 0) {
    this.#first = first
    this.#count = count
    this.#processor = isTimed ? new Processor() : null
  }

  /** A gauge for the next stage of the pipeline. */
  add({ definition, options }: BoundStage): Gauge {
    const index = this.stages.length
    const gauge = new Gauge(definition.name, this.#first + index, this.#processor)
    const last = this.stages.at(-1)?.gauge
    if (last !== undefined) last.following = gauge
    const role = index === 0 ? 'source' : index === this.#count - 1 ? 'target' : definition.paces ? 'limit' : 'stage'
    const medium = definition.medium?.(options as never)
    this.stages.push({ gauge, role, medium, group: null })
    return gauge
  }

  /** One gauge for a stream of several steps. */
  join(steps: readonly Gauge[]): Gauge {
    const whole = new Gauge(steps[0].name, -1, this.#processor)
    for (const entry of this.stages) if (steps.includes(entry.gauge)) entry.group = { whole, steps }
    return whole
  }

  /** A number that grows as long as any item moves. */
  get moves(): number {
    return this.stages.reduce((sum, { gauge }) => sum + gauge.itemsIn + gauge.itemsOut, 0)
  }
}

/** What the stage does right now. A step whose neighbour runs in the same stream waits for it. */
export function phaseOf({ gauge, group }: Gauged): Phase {
  if (group === null) return gauge.phase
  if (gauge.phase !== 'ended') return gauge.phase
  if (group.whole.phase !== 'work') return group.whole.phase
  const running = group.steps.findIndex(({ phase }) => phase !== 'ended')
  return running > group.steps.indexOf(gauge) ? 'next' : 'input'
}

/** Milliseconds in each phase up to now. */
export function timesOf({ gauge, group }: Gauged): { input: number; work: number; next: number } {
  gauge.settle()
  const { input, work, memory, next } = gauge.times
  if (group === null) return { input, work, next: next + memory }
  group.whole.settle()
  const own = group.steps.indexOf(gauge)
  const others = { before: 0, behind: 0 }
  for (const [index, step] of group.steps.entries()) {
    if (index === own) continue
    step.settle()
    others[index < own ? 'before' : 'behind'] += step.times.work + step.times.memory
  }
  const { whole } = group
  return { input: whole.times.input + others.before, work, next: whole.times.next + memory + others.behind }
}
