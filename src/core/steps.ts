/** Makes the body of a stage from a pure step, by stream-chain: it knows steps that give promises, generators, several items or none. */

import * as chain from 'stream-chain'
import fun from 'stream-chain/fun.js'
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

/** The step as a transform. */
export function stepBody(step: AnyStep): TransformBody<unknown, unknown> {
  const run = fun(...([step] as never[])) as unknown as (item: unknown) => unknown
  const emit = (result: unknown, push: (item: unknown) => void) => {
    for (const item of manyValues(result)) push(item)
  }
  const pass = (item: unknown, push: (item: unknown) => void) => {
    const result = run(item)
    return result instanceof Promise ? result.then((r) => emit(r, push)) : emit(result, push)
  }
  return {
    transform: pass,
    // stream-chain asks a step for its last items by `none`.
    flush: (push) => (chain.isFlushable(run as never) ? pass(none, push) : undefined),
  }
}

function manyValues(result: unknown): readonly unknown[] {
  return chain.isMany(result as never) ? (result as { values: unknown[] }).values : [result]
}
