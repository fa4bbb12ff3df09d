/**
 * What a stage is. A stage says what it takes and gives, describes its options with a schema, and makes a body:
 *
 *   a step        (item) => item | none | many([...]), or a promise or generator of them; neighbouring steps are fused
 *   a source      { read() } gives the next item or null, or any async iterable
 *   a transform   { transform(item, push), flush(push) }
 *   a sink        { write(item), final() }
 *   a stream      any streamx or Node stream in object mode
 *
 * Source, transform and sink may have `open()`, run for all stages before anything flows, and `close(error)`, run
 * exactly once whatever happens. All of these may return promises. What can wait must heed `context.signal`.
 */

import type { Duplex } from 'node:stream'
import * as z from 'zod'
import type { Budget } from './budget.ts'
import type { Counters } from './counters.ts'
import { VmapipeError } from './errors.ts'
import type { Kind } from './items.ts'

export interface StageContext {
  /** The stage's name in this pipeline. */
  readonly name: string
  /** What a stage may hold in memory; see Budget.carve for a part of its own. */
  readonly budget: Budget
  readonly counters: Counters
  /** Aborted when any stage fails, or the run is aborted from outside. */
  readonly signal: AbortSignal
  /** How many things to do at once where that uses a processor each. */
  readonly threads: number
  /** One line for the user that is not an error. */
  readonly warn: (message: string) => void
  /** For what must outlast the stage itself: is called when all stages of the run are closed, whatever became of it. */
  readonly atEnd: (hook: () => void) => void
}

export type Push<Out> = (item: Out) => void
type MaybePromise<T> = T | Promise<T>

interface Lifecycle {
  open?(): MaybePromise<void>
  close?(error: Error | null): MaybePromise<void>
}

export type Step<In = any, Out = any> = (item: In) => Out
export interface SourceBody<Out = any> extends Lifecycle {
  read(): MaybePromise<Out | null>
}
export interface TransformBody<In = any, Out = any> extends Lifecycle {
  transform(item: In, push: Push<Out>): MaybePromise<void>
  flush?(push: Push<Out>): MaybePromise<void>
}
export interface SinkBody<In = any> extends Lifecycle {
  write(item: In): MaybePromise<void>
  /** All items were written: make them durable and publish them. Not called where the run failed. */
  final?(): MaybePromise<void>
}

export type StageBody = Step | SourceBody | TransformBody | SinkBody | AsyncIterable<unknown> | Duplex

export interface StageDefinition<Schema extends z.ZodType = z.ZodType> {
  /** As it is written in a pipeline config. */
  name: string
  /** One line. */
  summary: string
  /** `any` together with output `same`: passes on what it takes. */
  input: Kind | 'any'
  output: Kind | 'same'
  options: Schema
  create(options: z.output<Schema>, context: StageContext): StageBody
}

/** A stage with its options, ready to be put into a pipeline. */
export interface BoundStage {
  readonly definition: StageDefinition
  readonly options: unknown
}

/** Calling it checks the options and gives a stage for definePipeline. */
export interface StageFactory<Schema extends z.ZodType = z.ZodType> {
  (options?: z.input<Schema>): BoundStage
  readonly definition: StageDefinition<Schema>
}

export function defineStage<Schema extends z.ZodType>(definition: StageDefinition<Schema>): StageFactory<Schema> {
  const factory = (options?: z.input<Schema>): BoundStage => {
    const checked = definition.options.safeParse(options ?? {})
    if (!checked.success) throw optionsError(definition.name, checked.error)
    return { definition: definition as unknown as StageDefinition, options: checked.data }
  }
  return Object.assign(factory, { definition })
}

/** The first thing that is wrong with the options, with its path: "stage compressor: option level: expected …". */
function optionsError(stage: string, error: z.ZodError): VmapipeError {
  const [issue] = error.issues
  const path = issue.path.join('.')
  return new VmapipeError('USAGE', `${path === '' ? 'options' : `option ${path}`}: ${issue.message}`, {
    stage,
    hint: `vmapipe stages ${stage} shows its options`,
  })
}

export { z }
