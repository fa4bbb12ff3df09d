/**
 * The runner: opens every stage, lets the items flow, and is done when every stage is closed. The first error wins,
 * with the name of its stage; it aborts the others.
 */

import { availableParallelism } from 'node:os'
import { pipeline as connect, type Stream } from 'streamx'
import * as z from 'zod'
import { Arena } from './arena.ts'
import { Budget } from './budget.ts'
import { Counters } from './counters.ts'
import { VmapipeError } from './errors.ts'
import { type Snapshot, watchProgress } from './meter.ts'
import { abortSignal, atLeastOne, callback, type Shape } from './options.ts'
import type { BoundStage, StageBody, StageContext } from './stage.ts'
import { type AnyStep, fuse } from './steps.ts'
import { blame, toStream } from './streams.ts'

/** 64 MiB: enough for both processors and a disk to be busy at once. */
export const DEFAULT_BUDGET = 64 << 20

export interface RunOptions {
  /** Bytes that may be held in memory by all stages together; 64 MiB unless told otherwise. */
  buffer?: number
  /** Where that memory comes from, as far as it goes; from anywhere unless given. */
  arena?: Arena
  /** Processor-bound work to do at once; the number of processors unless told otherwise. */
  threads?: number
  signal?: AbortSignal
  counters?: Counters
  /** One line for the user that is not an error, and the stage that says it. */
  warn?: (message: string, stage?: string) => void
  /** Is told what a log of the run should have; `fields` say the same to programs. */
  inform?: (message: string, fields?: object) => void
  /** Is told four times a second how far the run is. */
  onProgress?: (snapshot: Snapshot) => void
}

export const runShape = {
  buffer: atLeastOne,
  arena: z.instanceof(Arena),
  threads: atLeastOne,
  signal: abortSignal,
  counters: z.instanceof(Counters),
  warn: callback,
  inform: callback,
  onProgress: callback,
} satisfies Shape<RunOptions>

export interface RunResult {
  counters: Counters
  /** The most bytes that were on lease at once. */
  highWater: number
  /** Bytes that some stage never gave back: zero, unless a stage forgets to release. */
  leaked: number
  seconds: number
}

interface Part {
  name: string
  body: StageBody
}

export async function runStages(stages: readonly BoundStage[], options: RunOptions = {}): Promise<RunResult> {
  const started = performance.now()
  const run = new Run(options)
  const { counters, budget } = run
  const endWatch = options.onProgress && watchProgress(counters, options.onProgress)
  try {
    await run.through(stages, options.signal)
  } finally {
    endWatch?.()
    // A process that lives on has its memory back at once, not at some later garbage collection.
    budget.close(new VmapipeError('STAGE', 'the run is over'))
  }
  return {
    counters,
    highWater: budget.highWater,
    leaked: budget.used,
    seconds: (performance.now() - started) / 1000,
  }
}

/** The parts of a pipeline, made but not opened. Also in `parts`, as far as they could be made. */
export function createParts(stages: readonly BoundStage[], run: Run, parts: Part[] = []): Part[] {
  for (const { definition, options } of stages) {
    const { name } = definition
    try {
      parts.push({ name, body: definition.create(options as never, run.context(name)) })
    } catch (error) {
      throw blame(name, error)
    }
  }
  return parts
}

/** What the stages of one run share, and its first error. */
export class Run {
  readonly budget: Budget
  readonly counters: Counters
  readonly #threads: number
  readonly #warn: (message: string, stage: string) => void
  readonly #controller = new AbortController()
  readonly #endHooks: (() => void)[] = []
  #failure: VmapipeError | null = null

  constructor(options: RunOptions) {
    const { buffer = DEFAULT_BUDGET, arena, threads = availableParallelism(), counters, warn = () => {} } = options
    this.budget = new Budget(buffer, undefined, arena)
    this.counters = counters ?? new Counters()
    this.#threads = threads
    this.#warn = warn
  }

  context(name: string): StageContext {
    return {
      name,
      budget: this.budget,
      counters: this.counters,
      signal: this.#controller.signal,
      threads: this.#threads,
      warn: (message) => this.#warn(message, name),
      atEnd: (hook) => this.#endHooks.push(hook),
    }
  }

  /** Notes an error of a stage. The first one aborts all stages; of the others, those that tell something new are kept. */
  fail(stage: string, error: unknown): VmapipeError {
    const blamed = blame(stage, error)
    if (this.#failure === null) {
      this.#failure = blamed
      this.budget.close(blamed)
      this.#controller.abort(blamed)
    } else if (blamed !== this.#failure && blamed.code !== 'ABORTED') {
      this.#failure.suppressed.push(blamed)
    }
    return blamed
  }

  async through(stages: readonly BoundStage[], outside?: AbortSignal): Promise<void> {
    const onAbort = () => this.fail('pipeline', abortError(outside!))
    if (outside?.aborted) throw abortError(outside)
    outside?.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#flow(await this.#open(stages))
    } finally {
      outside?.removeEventListener('abort', onAbort)
      for (const hook of this.#endHooks.splice(0)) hook()
    }
    if (this.#failure !== null) throw this.#failure
  }

  /** Makes and opens all stages in the order of the pipeline. If one fails, all that were made are closed, the last first. */
  async #open(stages: readonly BoundStage[]): Promise<Part[]> {
    const parts: Part[] = []
    let current = 'pipeline'
    try {
      createParts(stages, this, parts)
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
        // Nobody else hears of it.
        body.on?.('error', () => {})
        body.destroy(error)
      }
    } catch (error) {
      this.fail(name, error)
    }
  }

  /** Connects the streams and waits until every one of them is closed. */
  async #flow(parts: Part[]): Promise<void> {
    const streams = groupSteps(parts).map((group) => this.#stream(group))
    const closed = streams.map((stream) => new Promise<void>((resolve) => stream.once('close', () => resolve())))
    const { signal } = this.#controller
    const destroy = () => {
      for (const stream of streams) stream.destroy(signal.reason)
    }
    signal.addEventListener('abort', destroy, { once: true })
    connect(streams as never, () => {})
    await Promise.all(closed)
  }

  #stream(group: Part[]): Stream {
    const [{ name, body }] = group
    const steps = group.map((part) => ({
      step: part.body as AnyStep,
      blame: (error: unknown) => this.fail(part.name, error),
    }))
    const stream = toStream(typeof body === 'function' ? fuse(steps) : body, (error) => this.fail(name, error))
    stream.on('error', (error) => this.fail(name, error))
    return stream
  }
}

function abortError({ reason }: AbortSignal): VmapipeError {
  return reason instanceof VmapipeError ? reason : new VmapipeError('ABORTED', 'aborted', { cause: reason })
}

type Hooks = { open?(): unknown; close?(error: Error | null): unknown }

function hasHooks(body: StageBody): body is StageBody & Hooks {
  return typeof body === 'object' && !('pipe' in body)
}

/** Neighbouring steps together, every other stage by itself. */
function groupSteps(parts: Part[]): Part[][] {
  const groups: Part[][] = []
  for (const part of parts) {
    const last = groups.at(-1)
    const joins = typeof part.body === 'function' && last !== undefined && typeof last[0].body === 'function'
    if (joins) last.push(part)
    else groups.push([part])
  }
  return groups
}
