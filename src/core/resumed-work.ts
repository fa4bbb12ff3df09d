/**
 * Runs a generator that gives items, and promises whose values it waits for. Between two promises it runs at once, so that it costs
 * nothing if there are none. A stage so takes further items while it waits.
 */

import { Bell } from './bell.ts'
import type { Push, StageContext } from './stage.ts'

/** Gives items. If it gives a promise, it is resumed with the promise's value. */
export type Resumable<Item> = Generator<Item | Promise<unknown>, void, unknown>

export class ResumedWork<Item> {
  readonly #context: Pick<StageContext, 'fail' | 'signal' | 'underWay'>
  #isGoing = false
  #failure: { error: unknown } | null = null
  /** Rings when a promise was kept, and at the end. */
  readonly #bell = new Bell()

  constructor(context: Pick<StageContext, 'fail' | 'signal' | 'underWay'>) {
    this.#context = context
  }

  /** Runs the generator that `begin` returns, unless one is under way. Throws its error, or that of an earlier one. */
  go(begin: () => Resumable<Item>, push: Push<Item>): void {
    if (this.#failure !== null) throw this.#failure.error
    if (this.#isGoing) return
    const work = begin()
    const promised = this.#step(work, push, undefined)
    if (promised !== null) void this.#context.underWay(this.#rest(work, push, promised))
  }

  /** Resolves if this holds, or if nothing is under way any more. Throws the error of the generator. */
  async until(holds: () => boolean): Promise<void> {
    while (this.#isGoing && this.#failure === null && !holds()) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Resolves when nothing is under way any more. Nothing more is passed on. */
  async close(error: Error | null): Promise<void> {
    this.#failure ??= { error: error ?? new Error('closed') }
    while (this.#isGoing) await this.#bell.next()
  }

  /** Passes items on up to the next promise, which it returns; null at the end. */
  #step(work: Resumable<Item>, push: Push<Item>, value: unknown): Promise<unknown> | null {
    for (let next = work.next(value); !next.done; next = work.next()) {
      if (next.value instanceof Promise) return next.value
      push(next.value)
    }
    return null
  }

  /** Never rejects. */
  async #rest(work: Resumable<Item>, push: Push<Item>, first: Promise<unknown>): Promise<void> {
    this.#isGoing = true
    try {
      for (let promised: Promise<unknown> | null = first; promised !== null; ) {
        const value = await promised
        if (this.#failure !== null || this.#context.signal.aborted) break
        promised = this.#step(work, push, value)
        this.#bell.ring()
      }
    } catch (error) {
      if (this.#failure === null) this.#context.fail(error)
      this.#failure ??= { error }
    }
    this.#isGoing = false
    this.#bell.ring()
  }
}
