/** Composes pure steps by stream-chain: neighbours run as one function, without a queue between them. */

import * as chain from 'stream-chain'
import fun from 'stream-chain/fun.js'
import type { Gauge } from './gauge.ts'
import type { Many, None, Step, StepResult, TransformBody } from './stage.ts'

/**
 * A step returns this if it gives no item.
 *
 *     const sample = (chunk: Chunk) => {
 *       if (Math.random() < 0.5) return chunk
 *       chunk.release()
 *       return none
 *     }
 *     definePipeline([source({ from: 'vm.vma' }), sample, sink({ to: 'half' })])
 */
export const none: None = chain.none as None

/**
 * A step returns this to give several items, in order.
 *
 *     const halves = ({ buffers, leases }: Chunk) => {
 *       const [bytes = new Uint8Array()] = buffers
 *       const middle = bytes.byteLength >> 1
 *       for (const lease of leases) lease.retain()
 *       return many([new Chunk([bytes.subarray(0, middle)], leases), new Chunk([bytes.subarray(middle)], leases)])
 *     }
 *     definePipeline([source({ from: 'vm.vma' }), halves, sink({ to: 'copy.vma' })])
 */
export function many<Out>(items: readonly Out[]): Many<Out> {
  return chain.many(items as never[]) as unknown as Many<Out>
}

/**
 * Makes a step that keeps something back: `final` gives the rest when the input has ended.
 *
 *     let bytes = 0
 *     const summed = stepWithFlush(
 *       (chunk: Chunk) => {
 *         bytes += chunk.byteLength
 *         chunk.release()
 *         return none
 *       },
 *       () => new Chunk([Buffer.from(`${bytes}\n`)]),
 *     )
 *     definePipeline([source({ from: 'vm.vma' }), summed, sink({ to: '-' })])
 */
export function stepWithFlush<In, Out>(step: Step<In, Out>, final: () => StepResult<Out>): Step<In, Out> {
  return chain.flushable(step as never, final as never) as unknown as Step<In, Out>
}

/** A step whose types the compiler does not know. */
export type AnyStep = (item: never) => unknown

interface GuardedStep {
  step: AnyStep
  /** Adds the stage's name to an error that its step throws. */
  blame: (error: unknown) => Error
  gauge: Gauge
}

/** Makes one body of neighbouring steps. */
export function fuse(steps: readonly GuardedStep[]): TransformBody<unknown, unknown> {
  const run = fun(...(steps.map(guarded) as never[])) as unknown as (item: unknown) => unknown
  const last = steps.at(-1)!.gauge
  const emit = (result: unknown, push: (item: unknown) => void) => {
    for (const item of manyValues(result)) {
      last.give(item)
      push(item)
    }
  }
  const pass = (item: unknown, push: (item: unknown) => void) => {
    const result = run(item)
    return result instanceof Promise ? result.then((r) => emit(r, push)) : emit(result, push)
  }
  return {
    transform: pass,
    flush: (push) => (chain.isFlushable(run as never) ? pass(none, push) : undefined),
  }
}

function manyValues(result: unknown): readonly unknown[] {
  return chain.isMany(result as never) ? (result as { values: unknown[] }).values : [result]
}

/** The same step, watched by its gauge, with `blame` applied to its errors, also to those from a promise or a generator. */
function guarded({ step, blame, gauge }: GuardedStep): AnyStep {
  const rethrow = (error: unknown): never => {
    gauge.end()
    throw blame(error)
  }
  const rethrowLater = (error: unknown): never => {
    gauge.endLater()
    throw blame(error)
  }
  const watched = (result: unknown) =>
    isIterator(result) ? watchIterator(result, gauge, rethrow, rethrowLater) : result
  const endLater = (result: unknown): unknown => {
    gauge.endLater()
    return watched(result)
  }
  const guard = (item: unknown) => {
    gauge.begin()
    // stream-chain asks a step for its last items by `none`.
    if (item !== none) gauge.take(item)
    try {
      const result = step(item as never)
      if (result instanceof Promise) return result.then(endLater, rethrowLater)
      gauge.end()
      return watched(result)
    } catch (error) {
      return rethrow(error)
    }
  }
  return chain.isFlushable(step as never) ? (chain.flushable(guard as never) as unknown as AnyStep) : guard
}

interface AnyIterator {
  next(value: unknown): unknown
  return?(value: unknown): unknown
}

function isIterator(value: unknown): value is AnyIterator {
  return typeof (value as AnyIterator | null)?.next === 'function'
}

type Rethrow = (error: unknown) => never

function watchIterator(iterator: AnyIterator, gauge: Gauge, rethrow: Rethrow, rethrowLater: Rethrow): AnyIterator {
  const endLater = (result: unknown) => {
    gauge.endLater()
    return result
  }
  const guard = (call: () => unknown) => {
    gauge.begin()
    try {
      const result = call()
      if (result instanceof Promise) return result.then(endLater, rethrowLater)
      gauge.end()
      return result
    } catch (error) {
      return rethrow(error)
    }
  }
  return {
    next: (value: unknown) => guard(() => iterator.next(value)),
    return: (value: unknown) => guard(() => iterator.return?.(value) ?? { done: true, value }),
  }
}
