/**
 * Lets a stage work on several items beside the event loop, and pass them on in order. What is under way is bounded by its bytes. It
 * always comes to its end by itself: nobody waits here for memory, or for the item that comes next.
 */

import { Bell } from './bell.ts'
import type { StageContext } from './stage.ts'

interface Under {
  readonly item: Releasable
  readonly work: unknown
  readonly then: (value: never) => void | Promise<void>
}

interface Releasable {
  readonly byteLength: number
  release(): void
}

export class InOrder {
  readonly #most: number
  readonly #context: Pick<StageContext, 'fail' | 'signal' | 'underWay'>
  readonly #waiting: Under[] = []
  #bytes = 0
  #isGoing = false
  #failure: { error: unknown } | null = null
  /** Rings when an item was passed on. */
  readonly #bell = new Bell()

  /** A new item waits while items of `most` bytes are under way. */
  constructor(most: number, context: Pick<StageContext, 'fail' | 'signal' | 'underWay'>) {
    this.#most = most
    this.#context = context
  }

  /**
   * Calls `then` with what `work` gives, after the `then` of all earlier items. `then` owns the item. Returns a promise if the caller must
   * wait before it adds another item. Throws the error of any earlier item.
   */
  add<Value>(
    item: Releasable,
    work: Value | Promise<Value>,
    then: (value: Value) => void | Promise<void>,
  ): void | Promise<void> {
    if (this.#failure !== null) throw this.#failure.error
    if (!this.#isGoing && !(work instanceof Promise)) return then(work)
    // It may fail before its turn, and must not count as unhandled until then.
    if (work instanceof Promise) work.catch(() => {})
    this.#waiting.push({ item, work, then })
    this.#bytes += item.byteLength
    if (!this.#isGoing) void this.#context.underWay(this.#go())
    if (this.#bytes >= this.#most) return this.#room()
  }

  /** Resolves when all items were passed on. Throws the error of any of them. */
  async drain(): Promise<void> {
    while (this.#isGoing) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Passes on nothing more, and resolves when nothing is under way any more. */
  async close(error: Error | null): Promise<void> {
    this.#failure ??= { error: error ?? new Error('closed') }
    while (this.#isGoing) await this.#bell.next()
  }

  async #room(): Promise<void> {
    while (this.#bytes >= this.#most && this.#failure === null) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Never rejects. */
  async #go(): Promise<void> {
    this.#isGoing = true
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { byteLength } = next.item
      try {
        await this.#pass(next)
      } catch (error) {
        if (this.#failure === null) this.#context.fail(error)
        this.#failure ??= { error }
      }
      this.#waiting.shift()
      this.#bytes -= byteLength
      this.#bell.ring()
    }
    this.#isGoing = false
    this.#bell.ring()
  }

  async #pass({ item, work, then }: Under): Promise<void> {
    let value: unknown
    try {
      value = await work
    } catch (error) {
      item.release()
      throw error
    }
    if (this.#failure !== null || this.#context.signal.aborted) return item.release()
    await then(value as never)
  }
}
