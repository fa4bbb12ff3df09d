/** Pure steps, composed by stream-chain: neighbours run as one function, without a queue between them. */

import * as chain from 'stream-chain'
import fun from 'stream-chain/fun.js'
import type { Step, TransformBody } from './stage.ts'

// With types of our own: those of stream-chain are not for everybody's compiler.
/** What a step returns that gives nothing. */
export const none: symbol = chain.none

/** What a step returns that gives all of these, in order. */
export function many(items: readonly unknown[]): object {
  return chain.many(items as never[])
}

/** A step that keeps something back: `final` gives the rest when the input has ended. */
export function stepWithFlush<In>(step: Step<In, unknown>, final: () => unknown): Step<In, unknown> {
  return chain.flushable(step as never, final as never) as unknown as Step<In, unknown>
}

/** Neighbouring steps as one body. `blame` names the step's stage in what it throws. */
export function fuse(steps: { step: Step; blame: (error: unknown) => Error }[]): TransformBody {
  const run = fun(...(steps.map(({ step, blame }) => guarded(step, blame)) as never[])) as unknown as (
    item: unknown,
  ) => unknown
  const emit = (result: unknown, push: (item: unknown) => void) => {
    for (const item of manyValues(result)) push(item)
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

/** The same step, whose errors say where they come from, also out of a promise or a generator. */
export function guarded(step: Step, blame: (error: unknown) => Error): Step {
  const rethrow = (error: unknown): never => {
    throw blame(error)
  }
  const watch = (result: any): any => {
    if (result instanceof Promise) return result.then(watch, rethrow)
    if (typeof result?.next === 'function') return watchIterator(result, rethrow)
    return result
  }
  const guard: Step = (item) => {
    try {
      return watch(step(item))
    } catch (error) {
      return rethrow(error)
    }
  }
  return chain.isFlushable(step as never) ? (chain.flushable(guard as never) as unknown as Step) : guard
}

function watchIterator(iterator: any, rethrow: (error: unknown) => never): any {
  const guard = (call: () => any) => {
    try {
      const result = call()
      return result instanceof Promise ? result.catch(rethrow) : result
    } catch (error) {
      return rethrow(error)
    }
  }
  return {
    next: (value: unknown) => guard(() => iterator.next(value)),
    return: (value: unknown) => guard(() => iterator.return?.(value) ?? { done: true, value }),
  }
}
