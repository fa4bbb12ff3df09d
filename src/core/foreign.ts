/**
 * Makes stages of streams and functions of others, so that they stand in a pipeline without a wrapper. Such a stage takes whatever the
 * stage before it gives, and gives the same kind.
 *
 *   a Node stream                a Transform or another Duplex. Takes and gives bytes as Buffers, or items if it is in object mode
 *   a pair of web streams        such as a TransformStream. Takes and gives bytes as Uint8Arrays, and any other items as they are
 *   an async generator function  takes an async iterable of all items, and gives items
 *   any other function           a step, as stream-chain has them: takes one item, and gives an item, none or many, or a promise or
 *                                generator of these
 *
 * Where a stage gives a Uint8Array, the next one gets a Chunk of it. A function owns the items that it takes, as every stage does. Streams
 * get copies of the bytes, which they may keep: their memory does not count for the budget.
 */

import type { Duplex } from 'node:stream'
import * as chain from 'stream-chain'
import fun from 'stream-chain/fun.js'
import * as z from 'zod'
import { type DuplexBody, GeneratorBody, NodeStreamBody } from './duplex-body.ts'
import { VmapipeError } from './errors.ts'
import type { Item } from './items.ts'
import { asItem } from './plain-bytes.ts'
import type { BoundStage, StageBody } from './stage.ts'
import { type AnyStep, none } from './steps.ts'
import { isNodeStream } from './streams.ts'
import { isPair, WebStreamBody, type WebStreamPair } from './web-body.ts'

interface Calls {
  // Methods, so that a parameter may be one kind of item.
  step(item: Item): unknown
  generator(items: AsyncIterable<Item>): AsyncIterable<unknown>
}

/** A function as a stage: a step, or an async generator function. A parameter needs its type, such as `Chunk`. */
export type StageFunction = (Calls['step'] | Calls['generator']) & { readonly definition?: never }

/** A stage of others that needs no wrapper. A stream can be used in one run only. */
export type ForeignStage = Duplex | WebStreamPair | StageFunction

/** What a pipeline is made of. */
export type PipelineStage = BoundStage | ForeignStage

/** The stage as it is, or one made of a stream or function. Throws USAGE for anything else. */
export function asStage(stage: PipelineStage): BoundStage {
  if (isBound(stage)) return stage
  if (typeof stage === 'function' && stage.definition === undefined)
    return foreign(stage.name || 'function', () => bodyOfFunction(stage))
  if (isNodeStream(stage)) {
    return foreign(stage.constructor.name, () => new NodeStreamBody(unused(stage, stage.destroyed)))
  }
  if (isPair(stage)) {
    const isUsed = () => stage.readable.locked || stage.writable.locked
    return foreign(stage.constructor.name, () => new WebStreamBody(unused(stage, isUsed())))
  }
  throw new VmapipeError('USAGE', `a pipeline cannot have ${describeValue(stage)} as a stage`, {
    hint: 'give a stage, a Node Duplex, a TransformStream or a function; the factory of a stage must be called',
  })
}

function foreign(name: string, create: () => DuplexBody | AnyStep): BoundStage {
  const summary = 'a stream or function'
  const kinds = { input: 'any', output: 'same' } as const
  const definition = { name, summary, ...kinds, options: z.any(), create: create as () => StageBody }
  return { definition, options: {} }
}

function bodyOfFunction(stage: StageFunction): DuplexBody | AnyStep {
  const isGenerator = Object.prototype.toString.call(stage) === '[object AsyncGeneratorFunction]'
  if (isGenerator && !chain.isFunctionList(stage as never)) return new GeneratorBody(stage as Calls['generator'])
  const given = (value: unknown) => (value === undefined || value === null ? none : asItem(value))
  return (fun as (...steps: unknown[]) => unknown)(stage, given) as AnyStep
}

/** Throws USAGE for a stream that ran before. */
function unused<S>(stream: S, isUsed: boolean): S {
  if (!isUsed) return stream
  throw new VmapipeError('USAGE', 'the stream was used already', { hint: 'make a new one for every run' })
}

function isBound(stage: PipelineStage): stage is BoundStage {
  return typeof stage === 'object' && stage !== null && 'definition' in stage
}

function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  return typeof value === 'object' ? `an object of class ${value.constructor?.name ?? 'Object'}` : `a ${typeof value}`
}
