/**
 * Defines what a stage is. A stage states what it takes and gives, describes its options by a schema, and makes a body:
 *
 *   a step        (item) => item | none | many([...]), or a promise or generator of these
 *   a source      { read() } gives the next item or null, or any async iterable
 *   a transform   { transform(item, push), flush(push) }
 *   a sink        { write(item), final() }
 *   a stream      any streamx or Node stream in object mode
 *
 * Source, transform and sink may have `open()` and `close(error)`. `open` runs for all stages before anything flows.
 * `close` runs exactly once, whatever happens. All of these may return promises. A hook that can wait must end its wait if
 * `context.signal` is aborted.
 */

import type { Duplex } from 'node:stream'
import * as z from 'zod'
import type { Budget } from './budget.ts'
import type { Counters } from './counters.ts'
import { VmapipeError } from './errors.ts'
import type { Chunk, ClusterItem, Item, Kind, RangeItem } from './items.ts'
import { problemsOf } from './problems.ts'

/** What a run gives to each of its stages. */
export interface StageContext {
  /** The stage's name in this pipeline. */
  readonly name: string
  /** The memory that all stages share. `Budget.carve` gives a stage a part of its own. */
  readonly budget: Budget
  readonly counters: Counters
  /** Aborted if any stage fails or the caller aborts the run. */
  readonly signal: AbortSignal
  /** The number of processor-bound tasks that may run at once. */
  readonly threads: number
  /** Takes one line for the user that is not an error. */
  readonly warn: (message: string) => void
  /** Takes a line for the log of the run. `fields` say the same to programs. */
  readonly inform: (text: string, fields?: object) => void
  /** Adds a line to what the run says at its end. Programs get it at once, with `fields`. */
  readonly conclude: (text: string, fields?: object) => void
  /** Ends the run by an error that comes while none of the stage's hooks runs. */
  readonly fail: (error: unknown) => void
  /** Counts this as work of the stage until it has settled, and returns it: for work that goes on between the stage's hooks. */
  readonly underWay: <Work extends Promise<unknown>>(work: Work) => Work
  /**
   * Makes a pipeline that runs beside the stage, with the same memory. Call it in `create`; the function that it gives runs the pipeline,
   * whose error is not one of this run. The last stage waits for `beforeFinal` before it publishes what it has written.
   */
  readonly branch: (
    name: string,
    stages: readonly BoundStage[],
    beforeFinal: () => Promise<void>,
  ) => (signal: AbortSignal) => Promise<void>
  /** Where the last stage publishes what this one gives; null if that has no name, or a stage between them may change it. */
  readonly destination: Destination | null
  /**
   * Registers a hook that is called when all stages are closed and none has failed: the last stage has published what it wrote.
   * An error of the hook fails the run.
   */
  readonly atSuccess: (hook: () => Promise<void>) => void
  /** Registers a hook for what must outlast the stage. It is called when all stages are closed, whether the run succeeded or not. */
  readonly atEnd: (hook: () => void | Promise<void>) => void
}

/** A place with a name, as a user writes it: a path or ssh://. */
export interface Destination {
  readonly place: string
  /** Whether a file that is there may be replaced. */
  readonly force: boolean
}

/** Gives one item to the next stage. */
export type Push<Out> = (item: Out) => void
type MaybePromise<T> = T | Promise<T>

interface Lifecycle {
  open?(): MaybePromise<void>
  close?(error: Error | null): MaybePromise<void>
}

/** What a step returns: an item, several (`many`), none (`none`), a promise of one of these, or a generator of items. */
export type StepResult<Out> = Given<Out> | Promise<Given<Out>> | Generator<Out> | AsyncGenerator<Out>
type Given<Out> = Out | Many<Out> | None | undefined

// None and Many are our own types: stream-chain's do not compile under every user's compiler options.
declare const isNone: unique symbol

/** What a step returns if it gives no item: the value `none`. */
export type None = symbol & { readonly [isNone]?: true }

/** What a step returns if it gives several items: made by `many`. */
export interface Many<Out> {
  readonly values: readonly Out[]
}

/** The body of a stage that is a function: it takes one item, and returns what it gives. */
export type Step<In = Item, Out = Item> = (item: In) => StepResult<Out>
/** The body of a stage that gives items and takes none. */
export interface SourceBody<Out = Item> extends Lifecycle {
  read(): MaybePromise<Out | null>
}
/** The body of a stage that gives any number of items for each one that it takes. It releases what it does not pass on. */
export interface TransformBody<In = Item, Out = Item> extends Lifecycle {
  transform(item: In, push: Push<Out>): MaybePromise<void>
  flush?(push: Push<Out>): MaybePromise<void>
}
/** The body of a stage that takes items and gives none. It releases each item that it takes. */
export interface SinkBody<In = Item> extends Lifecycle {
  write(item: In): MaybePromise<void>
  /** Called when all items were written, before `final`: makes them durable as far as that can be without publishing them. */
  settle?(): MaybePromise<void>
  /** Called when all items were written: make them durable and publish them. Not called if the run has failed. */
  final?(): MaybePromise<void>
}

/** Any body of a stage. */
export type StageBody<In = never, Out = unknown> =
  | Step<In, Out>
  | SourceBody<Out>
  | TransformBody<In, Out>
  | SinkBody<In>
  | AsyncIterable<Out>
  | Duplex

/** The type of the items for each kind of stream. */
export interface ItemsByKind {
  nothing: never
  clusters: ClusterItem
  ranges: RangeItem
  bytes: Chunk
  any: Item
  same: Item
}

/** The kind of items that a stage takes: `nothing` for a source, `any` if it does not matter. */
export type Input = Kind | 'any'
/** The kind of items that a stage gives: `nothing` for a sink, `same` for the kind that it takes. */
export type Output = Kind | 'same'

/** The bodies that are allowed for a stage that takes `In` and gives `Out`. */
export type BodyOf<In extends Input, Out extends Output> = In extends 'nothing'
  ? SourceBody<ItemsByKind[Out]> | AsyncIterable<ItemsByKind[Out]> | Duplex
  : Out extends 'nothing'
    ? SinkBody<ItemsByKind[In]> | Duplex
    : Step<ItemsByKind[In], ItemsByKind[Out]> | TransformBody<ItemsByKind[In], ItemsByKind[Out]> | Duplex

/** What a stage is: see defineStage. */
export interface StageDefinition<
  Schema extends z.ZodType = z.ZodType,
  In extends Input = Input,
  Out extends Output = Output,
  Name extends string = string,
> {
  /** The name of the stage in a pipeline config. */
  name: Name
  /** One line. */
  summary: string
  /** `any` with the output `same` means that the stage gives the kind of items that it takes. */
  input: In
  output: Out
  options: Schema
  /** True for a stage that holds items back on purpose, such as a rate limit: it is never told to have stalled. */
  readonly paces?: boolean
  /** What the stage reads from or writes to, in a word or two, such as "ssh": statistics and stall messages name it. */
  medium?(options: z.output<Schema>): string | undefined
  /** Where a last stage publishes what it writes, if that place has a name. */
  destination?(options: z.output<Schema>): Destination | undefined
  create(options: z.output<Schema>, context: StageContext): BodyOf<In, Out>
  /** Where in the options, not yet checked, there are lists of stages. A config has them by name. */
  stageLists?(options: unknown): readonly (readonly (string | number)[])[]
  /** Says what is wrong with the stage's place in a pipeline, if anything is: it is at `index` of `stages`. */
  misplaced?(options: z.output<Schema>, stages: readonly BoundStage[], index: number): Misplacement | null
  /**
   * Runs the whole pipeline. For a stage that works with something that must be there before any stage is opened, and until
   * the last one is closed, such as a running guest. `create` of such a stage is not called unless it calls it.
   */
  around?<Result>(options: z.output<Schema>, run: SurroundedRun<Result>): Promise<Result>
}

/** Why a stage cannot be where it is in a pipeline. */
export interface Misplacement {
  message: string
  hint?: string
}

/** The run of a pipeline for the stage that surrounds it. */
export interface SurroundedRun<Result> {
  readonly stages: readonly BoundStage[]
  /** Where among them the stage is. */
  readonly index: number
  /** Aborted if the caller aborts the run. */
  readonly signal: AbortSignal | undefined
  readonly warn: (message: string) => void
  readonly inform: (message: string, fields?: object) => void
  /** Runs these stages instead of the pipeline's, until `signal` is aborted. */
  readonly run: (stages: readonly BoundStage[], signal: AbortSignal | undefined) => Promise<Result>
}

/** A definition whose types the compiler does not know, such as one that a config names. */
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
  /** True for a stage that holds items back on purpose, such as a rate limit: it is never told to have stalled. */
  readonly paces?: boolean
  /** What the stage reads from or writes to, in a word or two, such as "ssh": statistics and stall messages name it. */
  medium?(options: never): string | undefined
  destination?(options: never): Destination | undefined
  create(options: never, context: StageContext): StageBody
  stageLists?(options: unknown): readonly (readonly (string | number)[])[]
  misplaced?(options: never, stages: readonly BoundStage[], index: number): Misplacement | null
  around?<Result>(options: never, run: SurroundedRun<Result>): Promise<Result>
}

/** A stage with its checked options, for use in a pipeline. */
export interface BoundStage<In extends Input = Input, Out extends Output = Output, Name extends string = string> {
  readonly definition: AnyStageDefinition<In, Out, Name>
  readonly options: unknown
}

/** A call checks the options and returns a stage for definePipeline. */
export interface StageFactory<
  Schema extends z.ZodType = z.ZodType,
  In extends Input = Input,
  Out extends Output = Output,
  Name extends string = string,
> {
  (options?: z.input<Schema>): BoundStage<In, Out, Name>
  readonly definition: StageDefinition<Schema, In, Out, Name>
}

/** A factory whose types the compiler does not know. */
export interface AnyStageFactory {
  (options?: unknown): BoundStage
  readonly definition: AnyStageDefinition
}

/**
 * Makes a stage. The compiler derives from `input` and `output` what the body takes and gives. The factory throws USAGE for
 * options that the schema refuses.
 *
 *     const count = defineStage({
 *       name: 'count',
 *       summary: 'counts the bytes that pass',
 *       input: 'bytes',
 *       output: 'bytes',
 *       options: z.strictObject({ as: z.string().default('passed') }),
 *       create: ({ as }, { counters }) => (chunk) => {
 *         counters.add(as, chunk.byteLength)
 *         return chunk
 *       },
 *     })
 *     const { counters } = await definePipeline([source({ from: 'vm.vma' }), count(), sink({ to: 'copy.vma' })]).run()
 *     console.log(counters.get('passed'))
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

/** An error for the first wrong option, with its path: "stage compressor: option level: expected …". */
function optionsError(stage: string, error: z.ZodError, options: unknown): VmapipeError {
  const [{ path, message, hint = `vmapipe stages ${stage} shows its options` }] = problemsOf(error, options, () => [])
  const where = path.length === 0 ? '' : `option ${path.join('.')}: `
  return new VmapipeError('USAGE', `${where}${message}`, { stage, hint })
}

export { z }
