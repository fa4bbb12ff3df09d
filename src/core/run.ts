/**
 * Runs a pipeline: opens every stage, lets the items flow, and ends when every stage is closed. The first error aborts
 * all other stages and is the one that is reported, with the name of its stage.
 */

import { availableParallelism } from 'node:os'
import { pipeline as connect, type Stream } from 'streamx'
import { Budget } from './budget.ts'
import { Counters } from './counters.ts'
import { destinationBehind } from './destination.ts'
import { VmapipeError } from './errors.ts'
import type { Gauge } from './gauge.ts'
import { Gauges } from './gauges.ts'
import { LOOK_MS, watchProgress } from './meter.ts'
import { hasHooks, type Part } from './parts.ts'
import { DEFAULT_BUDGET, type RunOptions, type RunResult } from './run-options.ts'
import type { BoundStage, Destination, StageContext } from './stage.ts'
import { STALL_SECONDS, watchStalls } from './stall.ts'
import { statsOf } from './stats.ts'
import { type AnyStep, stepBody } from './steps.ts'
import { blame, toStream } from './streams.ts'

/** The most stages that a branch may have. */
const BRANCH_STAGES = 64

export async function runStages(stages: readonly BoundStage[], options: RunOptions = {}): Promise<RunResult> {
  const started = performance.now()
  const run = new PipelineRun(stages.length, options)
  const { counters, budget } = run
  const endWatch = options.onProgress && watchProgress(counters, options.onProgress)
  try {
    await run.through(stages, options.signal)
  } finally {
    endWatch?.()
    // Frees the memory at once instead of at some later garbage collection, for processes that go on after the run.
    budget.close(new VmapipeError('STAGE', 'the run is over'))
  }
  return {
    counters,
    highWater: budget.highWater,
    leaked: budget.used,
    seconds: (performance.now() - started) / 1000,
    conclusions: run.conclusions,
  }
}

/** Makes the parts of a pipeline, not yet opened. If one fails, `parts` has those that were made before it. */
function createParts(stages: readonly BoundStage[], run: PipelineRun, parts: Part[] = []): Part[] {
  for (const [index, stage] of stages.entries()) {
    const { definition, options } = stage
    const { name } = definition
    try {
      const gauge = run.gauges.add(stage)
      const context = run.context(gauge, destinationBehind(stages, index))
      parts.push({ name, gauge, body: definition.create(options as never, context) })
    } catch (error) {
      throw blame(name, error)
    }
  }
  return parts
}

/** What a run within another one has from that. */
interface Within {
  outer: PipelineRun
  name: string
  budget: Budget
  beforeFinal: () => Promise<void>
}

/** The number by which the next branch counts its stages, so that no two stages of a budget have the same. */
let nextBranch = BRANCH_STAGES

/** One run of a pipeline: what its stages share, and its first error. */
class PipelineRun {
  readonly budget: Budget
  readonly counters: Counters
  readonly gauges: Gauges
  readonly #threads: number
  readonly #stallSeconds: number
  readonly #onStats: RunOptions['onStats']
  readonly #warn: (message: string, stage?: string) => void
  readonly #inform: (message: string, fields?: object) => void
  readonly #within: Within | null
  readonly conclusions: string[]
  readonly #controller = new AbortController()
  readonly #successHooks: (() => Promise<void>)[] = []
  readonly #endHooks: (() => void | Promise<void>)[] = []
  #failure: VmapipeError | null = null

  /** For a pipeline of `count` stages. */
  constructor(count: number, options: RunOptions, within: Within | null = null) {
    const { buffer = DEFAULT_BUDGET, arena, threads = availableParallelism(), counters, warn = () => {} } = options
    this.#within = within
    this.gauges =
      within === null
        ? new Gauges(count, options.onStats !== undefined)
        : new Gauges(count, within.outer.gauges, nextBranch, `${within.name}/`)
    if (within !== null) nextBranch += BRANCH_STAGES
    this.conclusions = within?.outer.conclusions ?? []
    this.#inform = options.inform ?? (() => {})
    this.#stallSeconds = options.stallSeconds ?? STALL_SECONDS
    this.#onStats = options.onStats
    this.budget = within?.budget ?? new Budget(buffer, undefined, arena)
    this.counters = counters ?? new Counters()
    this.#threads = threads
    this.#warn = warn
  }

  context(gauge: Gauge, destination: Destination | null = null): StageContext {
    const name = this.#label(gauge.name)
    const budget = Budget.of(this.budget, gauge)
    return {
      name,
      budget,
      counters: this.counters,
      signal: this.#controller.signal,
      threads: this.#threads,
      warn: (message) => this.#warn(message, name),
      inform: this.#inform,
      conclude: (text, fields) => {
        this.conclusions.push(text)
        this.#inform(text, fields)
      },
      fail: (error) => void this.fail(name, error),
      underWay: (work) => {
        gauge.during(work)
        return work
      },
      branch: (label, stages, beforeFinal) => {
        this.gauges.split(gauge)
        return this.#branch(label, stages, beforeFinal)
      },
      destination,
      atSuccess: (hook) => this.#successHooks.push(this.#blaming(name, hook)),
      atEnd: (hook) => this.#endHooks.push(hook),
    }
  }

  /** The name of a stage for people: in a branch, that of the branch comes first. */
  #label(stage: string): string {
    const prefix = this.#within?.name
    return prefix === undefined || stage.startsWith(`${prefix}/`) ? stage : `${prefix}/${stage}`
  }

  /** Makes stages that run within this run and share its budget. Their error is not one of this run. */
  #branch(
    name: string,
    stages: readonly BoundStage[],
    beforeFinal: () => Promise<void>,
  ): (signal: AbortSignal) => Promise<void> {
    if (stages.length > BRANCH_STAGES) throw new VmapipeError('USAGE', `a branch has at most ${BRANCH_STAGES} stages`)
    const options = { counters: this.counters, threads: this.#threads, warn: this.#warn, inform: this.#inform }
    const within = { outer: this, name: this.#label(name), budget: this.budget.branch(), beforeFinal }
    const run = new PipelineRun(stages.length, options, within)
    const parts = createParts(stages, run)
    return (signal) => run.through(stages, signal, parts)
  }

  /** Records an error of a stage. The first one aborts all stages. Later ones are kept as suppressed unless they only say "aborted". */
  fail(stage: string, error: unknown): VmapipeError {
    const blamed = blame(this.#label(stage), error)
    if (this.#failure === null) {
      this.#failure = blamed
      this.budget.close(blamed)
      this.#controller.abort(blamed)
    } else if (blamed !== this.#failure && blamed.code !== 'ABORTED') {
      this.#failure.suppressed.push(blamed)
    }
    return blamed
  }

  /** Runs the stages to their end. `parts` are their bodies if those were made before. */
  async through(stages: readonly BoundStage[], outside?: AbortSignal, parts?: Part[]): Promise<void> {
    const onAbort = () => this.fail('pipeline', abortError(outside!))
    if (outside?.aborted) throw abortError(outside)
    outside?.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#flow(await this.#open(stages, parts))
      for (const hook of this.#successHooks) if (this.#failure === null) await hook()
    } finally {
      outside?.removeEventListener('abort', onAbort)
      for (const hook of this.#endHooks.splice(0)) await hook()
    }
    if (this.#failure !== null) throw this.#failure
  }

  /** The same hook, whose error fails the run. */
  #blaming(stage: string, hook: () => Promise<void>): () => Promise<void> {
    return () => hook().catch((error) => void this.fail(stage, error))
  }

  /** Makes and opens all stages in the order of the pipeline. If one fails, it closes those that were made, the last first. */
  async #open(stages: readonly BoundStage[], made?: Part[]): Promise<Part[]> {
    const parts = made ?? []
    let current = 'pipeline'
    try {
      if (made === undefined) createParts(stages, this, parts)
      for (const { name, body } of parts) {
        current = name
        if (hasHooks(body)) await body.open?.()
        if (this.#failure !== null) throw this.#failure
      }
      return parts
    } catch (error) {
      const first = this.fail(current, error)
      for (const part of parts.toReversed()) await this.#closeUnused(part, first)
      throw this.#failure
    }
  }

  async #closeUnused({ name, body }: Part, error: Error): Promise<void> {
    try {
      if (hasHooks(body)) await body.close?.(error)
      else if (typeof body === 'object' && 'destroy' in body) {
        // A stream's error event without a listener would end the process.
        body.on?.('error', () => {})
        body.destroy(error)
      }
    } catch (error) {
      this.fail(name, error)
    }
  }

  /** Connects the streams and waits until every one of them is closed. */
  async #flow(parts: Part[]): Promise<void> {
    const streams = parts.map((part) => this.#stream(part))
    const closed = streams.map((stream) => new Promise<void>((resolve) => stream.once('close', () => resolve())))
    const { signal } = this.#controller
    const destroy = () => {
      for (const stream of streams) stream.destroy(signal.reason)
    }
    signal.addEventListener('abort', destroy, { once: true })
    const endWatch = this.#watch()
    connect(streams as never, () => {})
    try {
      await Promise.all(closed)
    } finally {
      endWatch()
    }
  }

  /** Looks for stalls and tells statistics, until the returned function is called. */
  #watch(): () => void {
    const { gauges, budget } = this
    const began = performance.now()
    gauges.start(began)
    // The run that a branch belongs to watches it.
    if (this.#within !== null) return () => {}
    const endStalls = watchStalls({ gauges, budget, seconds: this.#stallSeconds, warn: (text) => this.#warn(text) })
    const onStats = this.#onStats
    const timer = onStats && setInterval(() => onStats(statsOf(gauges.all, began, false)), LOOK_MS)
    return () => {
      endStalls()
      clearInterval(timer)
      onStats?.(statsOf(gauges.all, began, true))
    }
  }

  #stream({ name, body, gauge }: Part): Stream {
    const stream = toStream(
      typeof body === 'function' ? stepBody(body as AnyStep) : body,
      (error) => this.fail(name, error),
      gauge,
      this.#within?.beforeFinal,
    )
    stream.on('error', (error) => this.fail(name, error))
    return stream
  }
}

function abortError({ reason }: AbortSignal): VmapipeError {
  return reason instanceof VmapipeError ? reason : new VmapipeError('ABORTED', 'aborted', { cause: reason })
}
