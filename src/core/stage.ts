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
import type { Chunk, ClusterItem, Item, Kind, RangeItem } from './items.ts'
import { problemsOf } from './problems.ts'
import type { Many, None } from './steps.ts'

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

/** What a step gives: an item, several (`many`), or none (`none`); also by a promise, one after the other by a generator. */
export type StepResult<Out> = Given<Out> | Promise<Given<Out>> | Generator<Out> | AsyncGenerator<Out>
type Given<Out> = Out | Many<Out> | None | undefined

export type Step<In = Item, Out = Item> = (item: In) => StepResult<Out>
export interface SourceBody<Out = Item> extends Lifecycle {
  read(): MaybePromise<Out | null>
}
export interface TransformBody<In = Item, Out = Item> extends Lifecycle {
  transform(item: In, push: Push<Out>): MaybePromise<void>
  flush?(push: Push<Out>): MaybePromise<void>
}
export interface SinkBody<In = Item> extends Lifecycle {
  write(item: In): MaybePromise<void>
  /** All items were written: make them durable and publish them. Not called if the run has failed. */
  final?(): MaybePromise<void>
}

export type StageBody<In = never, Out = unknown> =
  | Step<In, Out>
  | SourceBody<Out>
  | TransformBody<In, Out>
  | SinkBody<In>
  | AsyncIterable<Out>
  | Duplex

/** The items that flow, by the kind of their stream. */
export interface ItemsByKind {
  nothing: never
  clusters: ClusterItem
  ranges: RangeItem
  bytes: Chunk
  any: Item
  same: Item
}

export type Input = Kind | 'any'
export type Output = Kind | 'same'

/** The bodies that a stage may have which takes `In` and gives `Out`. */
export type BodyOf<In extends Input, Out extends Output> = In extends 'nothing'
  ? SourceBody<ItemsByKind[Out]> | AsyncIterable<ItemsByKind[Out]> | Duplex
  : Out extends 'nothing'
    ? SinkBody<ItemsByKind[In]> | Duplex
    : Step<ItemsByKind[In], ItemsByKind[Out]> | TransformBody<ItemsByKind[In], ItemsByKind[Out]> | Duplex

export interface StageDefinition<
  Schema extends z.ZodType = z.ZodType,
  In extends Input = Input,
  Out extends Output = Output,
  Name extends string = string,
> {
  /** As it is written in a pipeline config. */
  name: Name
  /** One line. */
  summary: string
  /** `any` together with output `same`: passes on what it takes. */
  input: In
  output: Out
  options: Schema
  create(options: z.output<Schema>, context: StageContext): BodyOf<In, Out>
}

/** A definition of which only the run-time values are known, such as one that a config names. */
export interface AnyStageDefinition<
  In extends Input = Input,
  Out extends Output = Output,
  Name extends string = string,
> {
  readonly name: Name
  readonly summary: string
  readonly input: In
  readonly output: Out
  readonly options: z.ZodType
  create(options: never, context: StageContext): StageBody
}

/** A stage with its options, ready to be put into a pipeline. */
export interface BoundStage<In extends Input = Input, Out extends Output = Output, Name extends string = string> {
  readonly definition: AnyStageDefinition<In, Out, Name>
  readonly options: unknown
}

/** Calling it checks the options and gives a stage for definePipeline. */
export interface StageFactory<
  Schema extends z.ZodType = z.ZodType,
  In extends Input = Input,
  Out extends Output = Output,
  Name extends string = string,
> {
  (options?: z.input<Schema>): BoundStage<In, Out, Name>
  readonly definition: StageDefinition<Schema, In, Out, Name>
}

/** A factory of which only the run-time values are known. */
export interface AnyStageFactory {
  (options?: unknown): BoundStage
  readonly definition: AnyStageDefinition
}

/**
 * Makes a stage. The compiler knows from `input` and `output` what the body takes and gives. The factory throws USAGE for options
 * that the schema refuses.
 */
export function defineStage<Schema extends z.ZodType, In extends Input, Out extends Output, const Name extends string>(
  definition: StageDefinition<Schema, In, Out, Name>,
): StageFactory<Schema, In, Out, Name> {
  const factory = (options?: z.input<Schema>): BoundStage<In, Out, Name> => {
    const checked = definition.options.safeParse(options ?? {})
    if (!checked.success) throw optionsError(definition.name, checked.error, options)
    return { definition: definition as AnyStageDefinition<In, Out, Name>, options: checked.data }
  }
  return Object.assign(factory, { definition })
}

/** The first thing that is wrong with the options, with its path: "stage compressor: option level: expected …". */
function optionsError(stage: string, error: z.ZodError, options: unknown): VmapipeError {
  const [{ path, message, hint = `vmapipe stages ${stage} shows its options` }] = problemsOf(error, options, () => [])
  const where = path.length === 0 ? '' : `option ${path.join('.')}: `
  return new VmapipeError('USAGE', `${where}${message}`, { stage, hint })
}

export { z }
